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

/// Answer of MemoryQuery.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryInfo {
    /// Machine address of the page; 0 unless the control domain asks.
    pub machine: u64,
    /// The domain that owns the page, or the control domain for a device's.
    pub owner: u32,
    /// log2 of the pages of the translation it is part of: 0, 9 or 18.
    pub log2_pages: u32,
    /// Bits of [`access`].
    pub access: u32,
    /// Mappings of the page by the control domain's MemoryMap.
    pub maps: u32,
    /// Mappings of the page by grants.
    pub grants: u32,
    /// Uses of the page by the core itself.
    pub pins: u32,
}
const _: () = assert!(size_of::<MemoryInfo>() == 32);

/// Bits of [`MemoryInfo::access`].
pub mod access {
    /// The domain may read.
    pub const READ: u32 = 1 << 0;
    /// It may write.
    pub const WRITE: u32 = 1 << 1;
    /// It may execute.
    pub const EXECUTE: u32 = 1 << 2;
}
