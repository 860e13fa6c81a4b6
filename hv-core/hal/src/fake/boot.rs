// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader would have told.

use super::machine::with;
use crate::addr::{CpuId, Frame};

pub use crate::bootinfo::{BootInfo, Module, Region, RegionKind};

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
