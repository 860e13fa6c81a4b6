// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants: a domain lets one other use a range of its memory.
//!
//! The granter keeps a **table** of [`GrantEntry`] in its own memory, which it
//! registers once. An entry names the first byte, the length and the one
//! domain that may use the range. The core reads it once, when the peer maps
//! or copies; what is mapped then does not change with the entry.
//!
//! *Give*: write `gpa`, then `len`, `domain` and `flags` with [`VALID`] in one
//! 64-bit store ([`GrantEntry::word`]). *Take back*: store 0 to that word with
//! a full barrier, then read `uses`: when it is 0 nobody uses the range nor
//! will, without a call. Otherwise the peer still has it mapped.
//!
//! The core counts uses by itself and raises its count before it reads the
//! entry, so that either the core sees the word cleared or the granter sees
//! the use. `uses` is a copy of that count for the granter to read.

use crate::DomainId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The entry is in force.
pub const VALID: u16 = 1 << 0;
/// The peer may only read. Also asks for a mapping that can only be read.
pub const READ_ONLY: u16 = 1 << 1;
/// The peer may copy but not map: a mapping would show whole pages.
pub const COPY_ONLY: u16 = 1 << 2;

/// Smallest log2 of a table's entries: one page.
pub const LOG2_ENTRIES_MIN: u32 = 7;
/// Largest log2 of a table's entries.
pub const LOG2_ENTRIES_MAX: u32 = 14;
/// Operations that one call takes at the most.
pub const OPS_PER_CALL: u64 = 64;
/// Bytes that one copy moves at the most.
pub const COPY_MAX: u32 = 1 << 16;
/// Names every grant of a domain in a forced GrantRevoke.
pub const ALL: u64 = 0xffff_ffff;

/// Set in an address that names bytes of a grant: a driver gives such
/// addresses to a device whose backend can't see the guest's memory.
pub const ADDRESS_FLAG: u64 = 1 << 63;
/// Position of the entry's number in such an address; below it is the offset
/// in bytes from the entry's first, between it and the flag are zeros.
pub const ADDRESS_ENTRY_SHIFT: u32 = 32;

/// The address of a byte of a grant.
pub const fn address(entry: u32, offset: u32) -> u64 {
    ADDRESS_FLAG | (entry as u64) << ADDRESS_ENTRY_SHIFT | offset as u64
}

/// Entry and offset of such an address; `None` for any other address.
pub const fn parse_address(address: u64) -> Option<(u32, u32)> {
    let entry = (address & !ADDRESS_FLAG) >> ADDRESS_ENTRY_SHIFT;
    if address & ADDRESS_FLAG == 0 || entry >> LOG2_ENTRIES_MAX != 0 {
        return None;
    }
    Some((entry as u32, address as u32))
}

/// One entry of a grant table.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntry {
    /// First byte, in the granter's guest-physical space.
    pub gpa: u64,
    /// Bytes, at least one.
    pub len: u32,
    /// The domain that may use them.
    pub domain: u16,
    /// [`VALID`], [`READ_ONLY`], [`COPY_ONLY`].
    pub flags: u16,
    /// Uses there are, written by the core.
    pub uses: u32,
    /// The granter's own.
    pub reserved: u32,
    /// The granter's own.
    pub cookie: u64,
}
const _: () = assert!(size_of::<GrantEntry>() == 32);
const _: () = assert!(core::mem::offset_of!(GrantEntry, len) == 8);
const _: () = assert!(core::mem::offset_of!(GrantEntry, uses) == 16);

impl GrantEntry {
    /// The 64-bit word at `len`, which one store writes.
    pub const fn word(len: u32, domain: DomainId, flags: u16) -> u64 {
        len as u64 | (domain as u64) << 32 | (flags as u64) << 48
    }
}

/// One operation of GrantMap.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantMap {
    /// The granter.
    pub domain: u32,
    /// Number of its entry.
    pub grant: u32,
    /// First page within the grant; page 0 holds the grant's first byte.
    pub first: u32,
    /// Pages, 1 to 512. Answer: pages mapped.
    pub pages: u32,
    /// 0 or [`READ_ONLY`].
    pub flags: u32,
    /// Answer: how it went.
    pub status: u32,
    /// Where in the caller's guest-physical space. Answer to the control
    /// domain: the machine address at which it sees the pages.
    pub gpa: u64,
    /// Answer: names the mapping; never 0.
    pub handle: u32,
    /// Must be 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<GrantMap>() == 40);

/// One operation of GrantUnmap.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantUnmap {
    /// The mapping.
    pub handle: u32,
    /// Answer: how it went.
    pub status: u32,
}
const _: () = assert!(size_of::<GrantUnmap>() == 8);

/// One side of a copy.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantPlace {
    /// The granter, or [`crate::DOM_SELF`] for the caller's own memory.
    pub domain: u32,
    /// Number of its entry; 0 for the caller's own memory.
    pub grant: u32,
    /// Bytes from the grant's first; for the caller's own memory the
    /// guest-physical address.
    pub offset: u64,
}
const _: () = assert!(size_of::<GrantPlace>() == 16);

/// One operation of GrantCopy.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantCopy {
    /// Where the bytes are.
    pub from: GrantPlace,
    /// Where they go.
    pub to: GrantPlace,
    /// How many, 1 to [`COPY_MAX`].
    pub len: u32,
    /// Answer: how it went.
    pub status: u32,
}
const _: () = assert!(size_of::<GrantCopy>() == 40);

/// Answer of GrantQuery.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantInfo {
    /// First byte; the peer is told only its offset within its page.
    pub gpa: u64,
    /// Bytes.
    pub len: u32,
    /// The domain that may use them.
    pub domain: u32,
    /// As in [`GrantEntry::flags`].
    pub flags: u32,
    /// Uses there are.
    pub uses: u32,
}
const _: () = assert!(size_of::<GrantInfo>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_others_are_refused() {
        for (entry, offset) in [(0, 0), (1, 4095), ((1 << LOG2_ENTRIES_MAX) - 1, u32::MAX)] {
            assert_eq!(parse_address(address(entry, offset)), Some((entry, offset)));
        }
        for other in [0, 0x1000, 1 << 62, 1 << 63 | 1 << 46, u64::MAX] {
            assert_eq!(parse_address(other), None, "{other:#x}");
        }
    }
}
