// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of other domains, and where it comes from.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Answer of MemoryMap: machine-contiguous pages that are open now.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForeignRun {
    /// Machine address, at which the control domain sees the memory.
    pub machine: u64,
    /// Pages, at least one.
    pub pages: u64,
}
const _: () = assert!(size_of::<ForeignRun>() == 16);

/// Answer of MemoryPool: one range of machine memory kept for guests.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryRange {
    /// First machine address, 2 MiB-aligned.
    pub start: u64,
    /// First address behind it, 2 MiB-aligned.
    pub end: u64,
}
const _: () = assert!(size_of::<MemoryRange>() == 16);

/// Pages that one call handles at the most, so that no call takes long.
pub const PAGES_PER_CALL: u64 = 512;
