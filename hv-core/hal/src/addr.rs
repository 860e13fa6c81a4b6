// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names for machine memory and CPUs, so that a machine address, a
//! guest-physical address and an index can't be mistaken for one another.

use hv_abi::PAGE_SHIFT;

/// A machine frame: 4 KiB of machine memory, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u64);

impl Frame {
    /// The frame that holds this machine address.
    pub const fn holding(address: u64) -> Self {
        Self(address >> PAGE_SHIFT)
    }

    /// Machine address of the frame's first byte.
    pub const fn address(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// The frame `pages` further on; stays at the last one on overflow.
    pub const fn plus(self, pages: u64) -> Self {
        Self(self.0.saturating_add(pages))
    }
}

/// A CPU the core runs on: dense, from 0, the boot CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u32);

/// Sizes of a leaf in a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// 4 KiB.
    P4K,
    /// 2 MiB.
    P2M,
    /// 1 GiB.
    P1G,
}

impl Order {
    /// 4 KiB pages in a leaf.
    pub const fn pages(self) -> u64 {
        match self {
            Order::P4K => 1,
            Order::P2M => 512,
            Order::P1G => 512 * 512,
        }
    }

    /// Bytes in a leaf.
    pub const fn bytes(self) -> u64 {
        self.pages() << PAGE_SHIFT
    }
}
