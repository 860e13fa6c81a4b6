// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the control domain's kernel is told: Linux's zero page, command line,
//! a first GDT and page tables (Linux, Documentation/arch/x86/boot.rst and
//! zero-page.rst), and the registers of its first instruction.

use super::layout::{Layout, Range};
use alloc::vec::Vec;
use hv_abi::vcpu::{Segment, Table, VcpuContext, segment};
use hv_hal::boot::{BootInfo, RegionKind};

/// Pages the boot data takes: zero page, command line, GDT, PML4, PDPT, and
/// four page directories that map the first 4 GiB one to one.
pub const PAGES: u64 = 9;

const CMDLINE: u64 = 0x1000;
const GDT: u64 = 0x2000;
const PML4: u64 = 0x3000;
const PDPT: u64 = 0x4000;
const DIRECTORIES: u64 = 0x5000;

/// Longest command line, with its final zero.
pub const CMDLINE_MAX: usize = 4096;

/// Writes bytes to a machine address.
pub type Put<'a> = &'a mut dyn FnMut(u64, &[u8]);

/// E820 types (ACPI 6.5, table 15.6).
fn e820_type(kind: RegionKind) -> u32 {
    match kind {
        RegionKind::Ram => 1,
        RegionKind::Reserved => 2,
        RegionKind::AcpiReclaim => 3,
        RegionKind::AcpiNvs => 4,
        RegionKind::Unusable => 5,
    }
}

/// The memory map for the control domain: what is not its own is reserved.
pub fn e820(boot: &BootInfo, layout: &Layout) -> Vec<(Range, u32)> {
    let mut map: Vec<(Range, u32)> = layout.control.iter().map(|r| (*r, 1)).collect();
    map.extend(layout.core.iter().chain(&layout.pool).map(|r| (*r, 2)));
    map.extend(
        boot.memory
            .iter()
            .filter(|r| r.kind != RegionKind::Ram)
            .map(|r| ((r.start, r.end), e820_type(r.kind))),
    );
    map.sort_unstable();
    map
}

/// What goes into the boot data.
pub struct Told<'a> {
    /// The kernel file's setup header.
    pub header: &'a [u8],
    /// Initial RAM disk.
    pub initrd: Option<Range>,
    /// Command line, without a final zero.
    pub cmdline: &'a str,
    /// Address of ACPI's root pointer, or 0.
    pub rsdp: u64,
    /// Memory map.
    pub e820: &'a [(Range, u32)],
}

/// Writes the boot data to [`PAGES`] pages at `base`, which are zero.
pub fn write(base: u64, told: &Told<'_>, put: Put<'_>) {
    let mut field = |offset: u64, bytes: &[u8]| put(base + offset, bytes);
    field(super::bzimage::HEADER as u64, told.header);
    let low = |value: u64| (value as u32).to_le_bytes();
    let high = |value: u64| ((value >> 32) as u32).to_le_bytes();
    field(0x70, &told.rsdp.to_le_bytes());
    if let Some((start, end)) = told.initrd {
        field(0x218, &low(start));
        field(0x0c0, &high(start));
        field(0x21c, &low(end - start));
        field(0x0c4, &high(end - start));
    }
    let count = told.e820.len().min(128);
    field(0x1e8, &[count as u8]);
    // Loader "unknown" without a number of its own; the kernel is loaded high.
    field(0x210, &[0xff]);
    field(0x228, &low(base + CMDLINE));
    field(0x0c8, &high(base + CMDLINE));
    for (i, ((start, end), kind)) in told.e820.iter().take(count).enumerate() {
        let at = 0x2d0 + i as u64 * 20;
        field(at, &start.to_le_bytes());
        field(at + 8, &(end - start).to_le_bytes());
        field(at + 16, &kind.to_le_bytes());
    }
    field(CMDLINE, told.cmdline.as_bytes());
    // 0x10: 64-bit code, 0x18: data, as the protocol wants them.
    field(GDT + 0x10, &0x00af_9b00_0000_ffffu64.to_le_bytes());
    field(GDT + 0x18, &0x00cf_9300_0000_ffffu64.to_le_bytes());
    field(PML4, &((base + PDPT) | 3).to_le_bytes());
    for directory in 0..4u64 {
        let at = DIRECTORIES + directory * 0x1000;
        field(PDPT + directory * 8, &((base + at) | 3).to_le_bytes());
        for i in 0..512 {
            // Present, writable, 2 MiB.
            let entry = (directory * 512 + i) << 21 | 0x83;
            field(at + i * 8, &entry.to_le_bytes());
        }
    }
}

/// The registers for the 64-bit entry of a kernel loaded at `kernel`.
pub fn context(base: u64, kernel: u64) -> VcpuContext {
    let code = Segment { selector: 0x10, rights: 0xa09b, limit: u32::MAX, base: 0 };
    let data = Segment { selector: 0x18, rights: 0xc093, limit: u32::MAX, base: 0 };
    let mut context = VcpuContext {
        rip: kernel + 0x200,
        rflags: 2,
        // PE MP ET NE PG.
        cr0: 0x8000_0033,
        cr3: base + PML4,
        // PAE.
        cr4: 1 << 5,
        // LME LMA.
        efer: 1 << 8 | 1 << 10,
        pat: 0x0007_0406_0007_0406,
        dr6: 0xffff_0ff0,
        dr7: 0x400,
        segments: [data; 8],
        gdtr: Table { base: base + GDT, limit: 0x1f },
        idtr: Table { base: 0, limit: 0 },
        xcr0: 1,
        online: 1,
        ..VcpuContext::default()
    };
    // rsi: the zero page.
    context.gpr[hv_hal::exit::gpr::RSI] = base;
    context.segments[segment::CS] = code;
    context.segments[segment::TR] = Segment { selector: 0, rights: 0x8b, limit: 0x67, base: 0 };
    context.segments[segment::LDTR] = Segment { selector: 0, rights: 0x82, limit: 0, base: 0 };
    context
}
