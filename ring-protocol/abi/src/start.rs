// SPDX-License-Identifier: MIT OR Apache-2.0
//! The start info: one page that the builder writes into a guest's memory
//! and whose address CPUID tells ([`crate::cpuid::LEAF_START_INFO`]).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First field of [`StartInfo`]: "HVSI", little endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HVSI");
/// Layout version of [`StartInfo`].
pub const VERSION: u32 = 2;

/// What a guest needs to know beyond what CPUID says.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartInfo {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Guest-physical address of the console ring ([`crate::console`]), or 0.
    pub console_gpa: u64,
    /// The guest's event port of the console.
    pub console_port: u32,
    /// vCPUs of the domain.
    pub vcpus: u32,
    /// Guest-physical address of the first device page, or 0.
    pub devices_gpa: u64,
    /// Number of device pages, one behind the other.
    pub devices: u32,
    /// Must be 0.
    pub flags: u32,
    /// The domain's UUID.
    pub uuid: [u8; 16],
    /// The domain's name in UTF-8, zero-padded.
    pub name: [u8; 64],
    /// The guest's event port that is raised when a device page was filled or
    /// emptied, or 0.
    pub bus_port: u32,
    /// Must be 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<StartInfo>() == 128);
