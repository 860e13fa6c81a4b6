// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what a Multiboot loader left behind, version 1 (specification
//! 0.6.96, section 3.3) or 2 (section 3.6), into memory of the core's own:
//! [`parse`] copies everything it returns, so the originals may be
//! overwritten. A length is believed only within bounds set here.

use crate::bootinfo::{MAX_TEXT, Physical, Region, RegionKind, without_path};
use alloc::string::{String, ToString};
use alloc::{vec, vec::Vec};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// What a version 1 loader leaves in eax.
pub const MAGIC_1: u32 = 0x2bad_b002;
/// What a version 2 loader leaves in eax.
pub const MAGIC_2: u32 = 0x36d7_6289;

const MAX_REGIONS: usize = 1024;
const MAX_MODULES: usize = 32;
const MAX_INFORMATION: usize = 1 << 20;

/// A file in memory.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Its string, without a file name.
    pub cmdline: String,
}

/// All that was told.
#[derive(Debug, Default)]
pub struct Told {
    /// The core's own string, without a file name.
    pub cmdline: String,
    /// The loader's name.
    pub loader: String,
    /// The memory map as listed.
    pub memory: Vec<Region>,
    /// The files.
    pub modules: Vec<File>,
    /// The loader's copy of ACPI's root pointer.
    pub rsdp: Option<Vec<u8>>,
    /// Address of the EFI system table (64-bit), or 0.
    pub efi_system_table: u64,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Information1 {
    flags: U32,
    _memory: [U32; 2],
    _boot_device: U32,
    cmdline: U32,
    module_count: U32,
    modules: U32,
    _symbols: [U32; 4],
    map_len: U32,
    map: U32,
    _drives: [U32; 3],
    loader: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Module1 {
    start: U32,
    end: U32,
    string: U32,
    _reserved: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MapEntry {
    address: U64,
    len: U64,
    kind: U32,
}

impl MapEntry {
    fn region(&self) -> Region {
        let start = self.address.get();
        let kind = match self.kind.get() {
            1 => RegionKind::Ram,
            3 => RegionKind::AcpiReclaim,
            4 => RegionKind::AcpiNvs,
            5 => RegionKind::Unusable,
            _ => RegionKind::Reserved,
        };
        Region { start, end: start.saturating_add(self.len.get()), kind }
    }
}

/// Reads the information at `address`; `magic` says which version it is.
pub fn parse(magic: u32, address: u64, memory: &dyn Physical) -> Result<Told, &'static str> {
    let told = match magic {
        MAGIC_1 => parse_1(address, memory)?,
        MAGIC_2 => parse_2(address, memory)?,
        _ => return Err("the core was not started by a Multiboot loader"),
    };
    if !told.memory.iter().any(|r| r.kind == RegionKind::Ram) {
        return Err("the boot loader gave no memory map");
    }
    if told.modules.iter().any(|m| m.start > m.end) {
        return Err("the boot loader gave a module that ends before it starts");
    }
    Ok(told)
}

fn bytes(memory: &dyn Physical, address: u64, len: usize) -> Result<Vec<u8>, &'static str> {
    let mut copy = vec![0; len];
    if memory.copy(address, &mut copy) {
        Ok(copy)
    } else {
        Err("the boot loader's information lies outside of memory")
    }
}

fn string(memory: &dyn Physical, address: u64) -> Result<String, &'static str> {
    let mut text = Vec::new();
    while address != 0 && text.len() < MAX_TEXT {
        let mut byte = [0];
        if !memory.copy(address + text.len() as u64, &mut byte) {
            return Err("a string of the boot loader lies outside of memory");
        }
        match byte {
            [0] => break,
            [byte] => text.push(byte),
        }
    }
    Ok(tidy_text(&text))
}

fn tidy_text(bytes: &[u8]) -> String {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).to_string()
}

fn parse_1(address: u64, memory: &dyn Physical) -> Result<Told, &'static str> {
    let raw = bytes(memory, address, size_of::<Information1>())?;
    let information = Information1::read_from_bytes(&raw).map_err(|_| "information is cut off")?;
    let flags = information.flags.get();
    let has = |bit: u32| flags & 1 << bit != 0;
    let mut told = Told::default();
    if has(2) {
        let text = string(memory, information.cmdline.get().into())?;
        told.cmdline = without_path(&text).to_string();
    }
    if has(3) {
        let count = information.module_count.get() as usize;
        if count > MAX_MODULES {
            return Err("the boot loader gave too many modules");
        }
        for i in 0..count {
            let at = u64::from(information.modules.get()) + 16 * i as u64;
            let raw = bytes(memory, at, size_of::<Module1>())?;
            let module = Module1::read_from_bytes(&raw).map_err(|_| "a module is cut off")?;
            let text = string(memory, module.string.get().into())?;
            told.modules.push(File {
                start: module.start.get().into(),
                end: module.end.get().into(),
                cmdline: without_path(&text).to_string(),
            });
        }
    }
    if has(6) {
        let len = information.map_len.get() as usize;
        if len > MAX_INFORMATION {
            return Err("the boot loader's memory map is too long");
        }
        let map = bytes(memory, information.map.get().into(), len)?;
        let mut rest = map.as_slice();
        // An entry is a size, not counting itself, and that many bytes.
        while let Ok((size, behind)) = U32::read_from_prefix(rest) {
            let size = size.get() as usize;
            let Some(entry) = behind.get(..size) else { break };
            let Ok((entry, _)) = MapEntry::read_from_prefix(entry) else { break };
            if told.memory.len() == MAX_REGIONS {
                return Err("the boot loader's memory map has too many entries");
            }
            told.memory.push(entry.region());
            rest = behind.get(size..).unwrap_or_default();
        }
    }
    if has(9) {
        told.loader = string(memory, information.loader.get().into())?;
    }
    Ok(told)
}

fn parse_2(address: u64, memory: &dyn Physical) -> Result<Told, &'static str> {
    let head = bytes(memory, address, 8)?;
    let (total, _) = U32::read_from_prefix(&head).map_err(|_| "information is cut off")?;
    let total = total.get() as usize;
    if !(8..=MAX_INFORMATION).contains(&total) {
        return Err("the boot loader's information has an impossible length");
    }
    let all = bytes(memory, address, total)?;
    let mut rest = all.get(8..).unwrap_or_default();
    let mut told = Told::default();
    while let Ok((kind, behind)) = U32::read_from_prefix(rest) {
        let Ok((size, _)) = U32::read_from_prefix(behind) else { break };
        let (kind, size) = (kind.get(), size.get() as usize);
        let Some(body) = rest.get(8..size) else { break };
        tag_2(&mut told, kind, body)?;
        if kind == 0 {
            break;
        }
        rest = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(told)
}

fn tag_2(told: &mut Told, kind: u32, body: &[u8]) -> Result<(), &'static str> {
    match kind {
        1 => told.cmdline = without_path(&tidy_text(body)).to_string(),
        2 => told.loader = tidy_text(body),
        3 => {
            if told.modules.len() == MAX_MODULES {
                return Err("the boot loader gave too many modules");
            }
            let (range, text) =
                <[U32; 2]>::read_from_prefix(body).map_err(|_| "a module is cut off")?;
            told.modules.push(File {
                start: range[0].get().into(),
                end: range[1].get().into(),
                cmdline: without_path(&tidy_text(text)).to_string(),
            });
        }
        6 => {
            let (head, entries) =
                <[U32; 2]>::read_from_prefix(body).map_err(|_| "the memory map is cut off")?;
            let size = head[0].get() as usize;
            if size < size_of::<MapEntry>() || entries.len() / size > MAX_REGIONS {
                return Err("the boot loader's memory map has an impossible shape");
            }
            for entry in entries.chunks_exact(size) {
                if let Ok((entry, _)) = MapEntry::read_from_prefix(entry) {
                    told.memory.push(entry.region());
                }
            }
        }
        12 => {
            if let Ok((table, _)) = U64::read_from_prefix(body) {
                told.efi_system_table = table.get();
            }
        }
        14 if told.rsdp.is_none() => told.rsdp = Some(body.to_vec()),
        15 => told.rsdp = Some(body.to_vec()),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
#[path = "multiboot_tests.rs"]
mod tests;
