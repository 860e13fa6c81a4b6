// SPDX-License-Identifier: MIT OR Apache-2.0
//! One entry of a stage 2 table, in the two vendors' forms.
//!
//! NPT: long-mode page table entries, walked as user accesses (APM Vol. 2,
//! 5.4, 15.25.5). EPT: SDM Vol. 3, 29.3.2, tables 29-1 to 29-6. A leaf at
//! level 0 has no page-size bit in NPT (it is PAT there) and an ignored one
//! in EPT, so level 0 always is a leaf.

use super::{Access, Cache, Format};
use crate::addr::{Frame, Order};

/// Machine address bits of an entry, 51:12, in both forms.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Page size: the entry is a leaf above level 0 (both forms).
const LARGE: u64 = 1 << 7;

/// NPT: APM Vol. 2, 5.4.1. US must be set: nested walks are user accesses
/// (15.25.5). A and D are preset, so that the CPU need not write tables.
mod npt {
    pub const P: u64 = 1 << 0;
    pub const RW: u64 = 1 << 1;
    pub const US: u64 = 1 << 2;
    pub const PWT: u64 = 1 << 3;
    pub const PCD: u64 = 1 << 4;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    pub const NX: u64 = 1 << 63;
}

/// EPT: SDM Vol. 3, table 29-6. Bit 6 (ignore PAT) stays clear: the guest's
/// PAT takes part, so that the control domain gets write combining.
mod ept {
    pub const R: u64 = 1 << 0;
    pub const W: u64 = 1 << 1;
    pub const X: u64 = 1 << 2;
    pub const TYPE: u64 = 7 << 3;
    pub const WB: u64 = 6 << 3;
    pub const UC: u64 = 0 << 3;
}

/// Size of a leaf at a level; level 3 has none.
pub const fn order_at(level: u32) -> Order {
    match level {
        0 => Order::P4K,
        1 => Order::P2M,
        _ => Order::P1G,
    }
}

/// The level whose leaves have this size.
pub const fn level_of(order: Order) -> u32 {
    match order {
        Order::P4K => 0,
        Order::P2M => 1,
        Order::P1G => 2,
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Not present.
    Empty,
    /// Points to a table of the next level down.
    Table(Frame),
    /// Maps memory.
    Leaf {
        /// First machine frame.
        frame: Frame,
        /// What the guest may do.
        access: Access,
        /// How it is cached.
        cache: Cache,
    },
}

impl Entry {
    /// Reads an entry found at this level.
    pub fn decode(format: Format, level: u32, bits: u64) -> Self {
        let frame = Frame::holding(bits & ADDRESS);
        let present = match format {
            Format::Npt => bits & npt::P != 0,
            Format::Ept => bits & (ept::R | ept::W | ept::X) != 0,
        };
        if !present {
            return Entry::Empty;
        }
        if level > 0 && bits & LARGE == 0 {
            return Entry::Table(frame);
        }
        let (access, uncached) = match format {
            Format::Npt => {
                let mut access = Access::R;
                access.set(Access::W, bits & npt::RW != 0);
                access.set(Access::X, bits & npt::NX == 0);
                (access, bits & npt::PCD != 0)
            }
            Format::Ept => {
                let mut access = Access::empty();
                access.set(Access::R, bits & ept::R != 0);
                access.set(Access::W, bits & ept::W != 0);
                access.set(Access::X, bits & ept::X != 0);
                (access, bits & ept::TYPE == ept::UC)
            }
        };
        let cache = if uncached { Cache::Uncached } else { Cache::WriteBack };
        Entry::Leaf { frame, access, cache }
    }

    /// The bits of this entry at a level.
    pub fn encode(self, format: Format, level: u32) -> u64 {
        match (self, format) {
            (Entry::Empty, _) => 0,
            (Entry::Table(frame), Format::Npt) => {
                frame.address() | npt::P | npt::RW | npt::US | npt::A
            }
            (Entry::Table(frame), Format::Ept) => frame.address() | ept::R | ept::W | ept::X,
            (Entry::Leaf { frame, access, cache }, Format::Npt) => {
                let mut bits = frame.address() | npt::P | npt::US | npt::A | npt::D;
                if access.contains(Access::W) {
                    bits |= npt::RW;
                }
                if !access.contains(Access::X) {
                    bits |= npt::NX;
                }
                // PAT entry 3 of the host: uncacheable (APM Vol. 2, 7.8.2).
                if cache == Cache::Uncached {
                    bits |= npt::PWT | npt::PCD;
                }
                bits | large(level)
            }
            (Entry::Leaf { frame, access, cache }, Format::Ept) => {
                let mut bits = frame.address();
                if access.contains(Access::R) {
                    bits |= ept::R;
                }
                if access.contains(Access::W) {
                    bits |= ept::W;
                }
                if access.contains(Access::X) {
                    bits |= ept::X;
                }
                bits |= match cache {
                    Cache::WriteBack => ept::WB,
                    Cache::Uncached => ept::UC,
                };
                bits | large(level)
            }
        }
    }
}

const fn large(level: u32) -> u64 {
    if level > 0 { LARGE } else { 0 }
}
