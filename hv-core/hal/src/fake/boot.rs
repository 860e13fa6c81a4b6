// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader would have told.

use super::machine::with;
use crate::addr::{CpuId, Frame};

/// What a range of the machine's address space holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Usable memory.
    Ram,
    /// Not memory, or the firmware's.
    Reserved,
    /// ACPI tables; usable once they are read.
    AcpiReclaim,
    /// ACPI firmware storage.
    AcpiNvs,
    /// Broken memory.
    Unusable,
}

/// One range.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What it holds.
    pub kind: RegionKind,
}

/// A file the boot loader put into memory.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// The words that came with it.
    pub cmdline: &'static str,
}

/// All that the boot loader told.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// The core's own words.
    pub cmdline: &'static str,
    /// Name of the loader.
    pub loader: &'static str,
    /// The machine's memory, in order of address.
    pub memory: &'static [Region],
    /// The files.
    pub modules: &'static [Module],
    /// Machine address of ACPI's root pointer, or 0.
    pub rsdp: u64,
}

/// Takes frames from the top of the arena.
pub fn early_alloc(pages: u64, align: u64) -> Frame {
    with(|m| {
        let top = super::mem::FRAMES - m.early;
        let first = (top - pages) / align * align;
        m.early = super::mem::FRAMES - first;
        Frame(first)
    })
}

/// What was taken so far.
pub fn core_ranges(each: &mut dyn FnMut(u64, u64)) {
    let first = super::mem::FRAMES - with(|m| m.early);
    each(first << 12, super::mem::FRAMES << 12);
}

/// No CPU but the test's is started.
pub fn start_cpus(_entry: fn(CpuId) -> !) -> u32 {
    1
}
