// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 64-bit entry of Linux (Documentation/arch/x86/boot.rst, "64-bit boot
//! protocol"): zero page, page tables, GDT and the first vCPU's registers.
//! Everything here makes bytes and values; the builder writes them.

use crate::bzimage::{BzImage, ENTRY_64, SETUP_HEADER};
use crate::layout::{self, Placement};
use hv_abi::start::{self, StartInfo};
use hv_abi::vcpu::{Segment, Table, VcpuContext, segment};

/// Offsets in the zero page and the setup header.
mod offset {
    pub const EXT_RAMDISK_IMAGE: usize = 0x0c0;
    pub const EXT_RAMDISK_SIZE: usize = 0x0c4;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const CODE32_START: usize = 0x214;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const E820_TABLE: usize = 0x2d0;
}

/// A boot loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// Linux's `boot_params`.
pub fn zero_page(image: &BzImage, place: Placement, initrd_len: u64, memory: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(SETUP_HEADER, &image.setup_header);
    put(offset::TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
    put(offset::CODE32_START, &(place.kernel as u32).to_le_bytes());
    put(offset::CMD_LINE_PTR, &(layout::CMDLINE as u32).to_le_bytes());
    let initrd = place.initrd.unwrap_or(0);
    put(offset::RAMDISK_IMAGE, &(initrd as u32).to_le_bytes());
    put(offset::RAMDISK_SIZE, &(initrd_len as u32).to_le_bytes());
    put(offset::EXT_RAMDISK_IMAGE, &((initrd >> 32) as u32).to_le_bytes());
    put(offset::EXT_RAMDISK_SIZE, &((initrd_len >> 32) as u32).to_le_bytes());
    let map = layout::e820(memory);
    put(offset::E820_ENTRIES, &[map.len() as u8]);
    for (i, (range, ram)) in map.into_iter().enumerate() {
        let at = offset::E820_TABLE + i * 20;
        let kind = if ram { E820_RAM } else { E820_RESERVED };
        put(at, &range.start.to_le_bytes());
        put(at + 8, &(range.end - range.start).to_le_bytes());
        put(at + 16, &kind.to_le_bytes());
    }
    page
}

/// Page tables that map the first 4 GiB to themselves in 2 MiB pages, for
/// [`layout::PAGE_TABLES`] (SDM Vol. 3, 4.5.4).
pub fn page_tables() -> Vec<u8> {
    const PRESENT_WRITE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let mut words = vec![0u64; 6 * 512];
    let table = |n: u64| (layout::PAGE_TABLES + n * 4096) | PRESENT_WRITE;
    words[0] = table(1);
    for gib in 0..4 {
        words[512 + gib] = table(2 + gib as u64);
    }
    for (n, entry) in words[1024..].iter_mut().enumerate() {
        *entry = (n as u64) << 21 | LARGE | PRESENT_WRITE;
    }
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TASK_SELECTOR: u16 = 0x20;

/// The descriptors behind the selectors above, for [`layout::GDT`]; the boot
/// protocol wants code at 0x10 and data at 0x18.
pub fn gdt() -> Vec<u8> {
    let entries: [u64; 6] =
        [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067, 0];
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}

/// The first vCPU at the kernel's 64-bit entry.
pub fn entry_context(kernel: u64) -> VcpuContext {
    let segment = |selector, rights, limit| Segment { selector, rights, limit, base: 0 };
    let data = segment(DATA_SELECTOR, 0xc093, u32::MAX);
    let mut segments = [data; 8];
    segments[segment::CS] = segment(CODE_SELECTOR, 0xa09b, u32::MAX);
    segments[segment::TR] = segment(TASK_SELECTOR, 0x008b, 0x67);
    // Present, of the right type and of no length: valid wherever it is checked.
    segments[segment::LDTR] = segment(0, 0x0082, 0);
    let mut context = VcpuContext {
        rip: kernel + ENTRY_64,
        rflags: 1 << 1,
        cr0: 0x8000_0033, // PG, NE, ET, MP, PE
        cr3: layout::PAGE_TABLES,
        cr4: 1 << 5,                // PAE
        efer: 1 << 8 | 1 << 10,     // LME, LMA
        pat: 0x0007_0406_0007_0406, // the reset value (SDM Vol. 3, 12.12.4)
        dr6: 0xffff_0ff0,
        dr7: 1 << 10,
        segments,
        gdtr: Table { base: layout::GDT, limit: gdt().len() as u64 - 1 },
        xcr0: 1,
        online: 1,
        ..VcpuContext::default()
    };
    const RSP: usize = 4;
    const RSI: usize = 6;
    context.gpr[RSP] = layout::STACK_END;
    context.gpr[RSI] = layout::ZERO_PAGE;
    context
}

/// The guest's ports that are named in the start info.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Of the console ring.
    pub console: u32,
    /// Raised when a device comes or goes.
    pub bus: u32,
}

/// The page that CPUID points the guest to.
pub fn start_info(name: &str, uuid: [u8; 16], vcpus: u32, ports: Ports) -> StartInfo {
    StartInfo {
        magic: start::MAGIC,
        version: start::VERSION,
        console_gpa: layout::CONSOLE,
        console_port: ports.console,
        vcpus,
        devices_gpa: layout::DEVICES,
        devices: layout::DEVICE_PAGES,
        flags: 0,
        uuid,
        name: padded(name),
        bus_port: ports.bus,
        reserved: 0,
    }
}

/// A name, zero-padded; one that is too long is cut, but names are checked.
pub fn padded(name: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    let len = name.len().min(crate::spec::NAME_MAX);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the tables as the CPU does.
    #[test]
    fn page_tables_map_4_gib_to_themselves() {
        let bytes = page_tables();
        let word = |address: u64| {
            let at = (address - layout::PAGE_TABLES) as usize;
            u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
        };
        for address in (0..4u64 << 30).step_by(2 << 20) {
            let mut table = layout::PAGE_TABLES;
            for level in [39, 30] {
                let entry = word(table + (address >> level & 511) * 8);
                assert_eq!(entry & 0x83, 0x03);
                table = entry & !0xfff;
            }
            let leaf = word(table + (address >> 21 & 511) * 8);
            assert_eq!(leaf, address | 0x83);
        }
        assert!(layout::PAGE_TABLES + bytes.len() as u64 <= layout::CMDLINE);
    }

    #[test]
    fn segments_match_the_descriptors_they_came_from() {
        let table = gdt();
        let context = entry_context(16 << 20);
        for n in [segment::CS, segment::DS, segment::SS, segment::TR] {
            let s = context.segments[n];
            let at = usize::from(s.selector);
            let d = u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
            let rights = (d >> 40 & 0xf0ff) as u16;
            assert_eq!(s.rights, rights, "segment {n}");
            let pages = if rights & 0x8000 != 0 { 12 } else { 0 };
            let limit = (((d & 0xffff) | (d >> 32 & 0xf_0000)) << pages) | ((1 << pages) - 1);
            assert_eq!(u64::from(s.limit), limit, "segment {n}");
        }
        assert_eq!(context.rip, (16 << 20) + 0x200);
        assert_eq!(context.gpr[6], layout::ZERO_PAGE);
    }
}
