// SPDX-License-Identifier: MIT OR Apache-2.0
//! Consoles (virtio 1.2, 5.3): configuration space.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Feature: `cols` and `rows` are valid.
pub const F_SIZE: u64 = 1 << 0;

/// Configuration space.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Config {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// Ports, with the feature for more than one.
    pub max_nr_ports: u32,
    /// Early output; not offered.
    pub emerg_wr: u32,
}
const _: () = assert!(size_of::<Config>() == 12);
