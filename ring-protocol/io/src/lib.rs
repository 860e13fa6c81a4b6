// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest and the backend of one of its devices must agree on: the page
//! by which they find each other ([`slot`]), and what stands in the buffers of
//! block, network and console queues ([`blk`], [`net`], [`console`]).
//!
//! Queues and buffers are virtio 1.2's; the constants here are asserted equal
//! to `virtio-bindings` by this crate's tests, which a `no_std` crate can't
//! depend on itself. Whatever is parsed was written by a peer that is not
//! trusted: it is copied once, and `check` or `parse` turn the copy into a type
//! whose values are in range, or into a [`Fault`] that says what was wrong.
//!
//! Neighbours: `hv-backend` and the backends above it, `hv-guest` for bare
//! guests; the kernel series has the same layout in C.
#![no_std]
#![forbid(unsafe_code)]

pub mod blk;
pub mod console;
pub mod net;
pub mod slot;

/// Everything here is little-endian, as virtio's fields are.
const _: () = assert!(cfg!(target_endian = "little"));

/// Virtio's device numbers (virtio 1.2, 5).
pub mod device_id {
    /// Network card.
    pub const NET: u32 = 1;
    /// Disk.
    pub const BLOCK: u32 = 2;
    /// Console.
    pub const CONSOLE: u32 = 3;
    /// Source of entropy.
    pub const ENTROPY: u32 = 4;
}

/// Bits of the device status (virtio 1.2, 2.1).
pub mod status {
    /// The guest knows of the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// The guest can drive it.
    pub const DRIVER: u32 = 2;
    /// The guest is ready.
    pub const DRIVER_OK: u32 = 4;
    /// The features were negotiated.
    pub const FEATURES_OK: u32 = 8;
    /// The device gave up on the driver, until it is reset.
    pub const NEEDS_RESET: u32 = 0x40;
    /// The driver gave up on the device.
    pub const FAILED: u32 = 0x80;
}

/// Features of every kind of device (virtio 1.2, 6).
pub mod feature {
    /// A descriptor may name a table of descriptors.
    pub const RING_INDIRECT_DESC: u64 = 1 << 28;
    /// Each side says at which index it wants to be told.
    pub const RING_EVENT_IDX: u64 = 1 << 29;
    /// Virtio 1.0 or later.
    pub const VERSION_1: u64 = 1 << 32;
    /// Addresses are those of a platform's IOMMU, here: of grants.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// The packed layout of rings.
    pub const RING_PACKED: u64 = 1 << 34;
}

/// What a guest did wrong. Its device is stopped until the guest resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It accepted a feature that was not offered.
    Features,
    /// It went on without the features being negotiated.
    Order,
    /// A queue's size is no power of two, or larger than offered.
    QueueSize,
    /// A ring is not aligned, or outside the guest's memory.
    QueueAddress,
    /// A request's buffers are not of the form its kind prescribes.
    Buffers,
    /// A buffer is outside the guest's memory.
    BufferAddress,
    /// A chain of descriptors is broken, endless or used twice.
    Chain,
    /// A ring's index says that there are more requests than fit.
    RingIndex,
}

impl Fault {
    /// For logs and for `hvctl`.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Features => "the guest accepted features that were not offered",
            Fault::Order => "the guest went on without negotiating features",
            Fault::QueueSize => "the size of a queue is not possible",
            Fault::QueueAddress => "a ring is not aligned, or outside the guest's memory",
            Fault::Buffers => "a request has buffers of the wrong number, size or direction",
            Fault::BufferAddress => "a buffer is outside the guest's memory",
            Fault::Chain => "a chain of descriptors is broken, endless or in use already",
            Fault::RingIndex => "a ring's index is impossible",
        }
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Fault {}
