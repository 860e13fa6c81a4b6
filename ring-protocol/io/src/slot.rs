// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device's page: one of those that the start info counts. All zero is an
//! empty slot.
//!
//! ```text
//! 0x000  DeviceHead                      \
//! 0x080  configuration space, 512 bytes   | written by the host only
//! 0x300  QueueOffer × 64                 /
//! 0x800  DriverHead                      \  written by the guest only
//! 0x880  QueueSetup × 56                 /
//! ```
//!
//! *Handshake.* The guest writes its half, raises `drv_seq` and sends the
//! configuration port. The host copies the driver's half, acts, writes
//! `status`, then `host_seq`, and raises the port. A reset is done when
//! `status` is 0 and `host_seq` has caught up: nobody touches the guest's
//! memory any more. *Change of configuration.* The host makes `config_gen`
//! odd, writes, makes it even and raises the port.
//!
//! The host never reads its own half back: the guest can write to all of the
//! page, and hurt itself by it. [`check_features`] and [`check_queue`] are what
//! stands between the driver's half and the host.

use crate::{Fault, feature};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "HVDV", little endian: the slot is in use.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HVDV");
/// Layout of the page.
pub const VERSION: u32 = 1;
/// The vendor that drivers are told.
pub const VENDOR: u32 = 0x5856_4800;
/// Bytes of a page.
pub const PAGE_LEN: usize = 4096;
/// Queues a device can have.
pub const QUEUES_MAX: usize = 56;
/// Bytes of configuration space.
pub const CONFIG_LEN: usize = 512;

/// Offsets in the page.
pub mod offset {
    /// [`super::DeviceHead`].
    pub const DEVICE: usize = 0x000;
    /// `DeviceHead::magic`.
    pub const MAGIC: usize = 0x000;
    /// `DeviceHead::incarnation`.
    pub const INCARNATION: usize = 0x010;
    /// `DeviceHead::state`.
    pub const STATE: usize = 0x014;
    /// `DeviceHead::config_gen`.
    pub const CONFIG_GEN: usize = 0x030;
    /// `DeviceHead::status`.
    pub const STATUS: usize = 0x034;
    /// `DeviceHead::host_seq`.
    pub const HOST_SEQ: usize = 0x03c;
    /// Configuration space.
    pub const CONFIG: usize = 0x080;
    /// The first [`super::QueueOffer`].
    pub const OFFERS: usize = 0x300;
    /// [`super::DriverHead`].
    pub const DRIVER: usize = 0x800;
    /// `DriverHead::drv_seq`.
    pub const DRV_SEQ: usize = 0x804;
    /// The first [`super::QueueSetup`].
    pub const SETUPS: usize = 0x880;
}

/// Bits of [`DeviceHead::state`].
pub mod state {
    /// The device can be used.
    pub const PRESENT: u32 = 1;
    /// The host wants the driver to let go.
    pub const REMOVING: u32 = 2;
}

/// Bits of [`DeviceHead::mode`].
pub mod mode {
    /// Addresses are those of grants.
    pub const GRANTED: u32 = 1;
}

/// The host's half, as far as it is the same for every kind of device.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceHead {
    /// [`MAGIC`], or 0; written last, cleared first.
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// One of [`crate::device_id`].
    pub device_id: u32,
    /// [`VENDOR`].
    pub vendor_id: u32,
    /// Another number for each device that the slot ever had.
    pub incarnation: u32,
    /// Bits of [`state`].
    pub state: u32,
    /// Features offered, bits 0 to 63.
    pub features_lo: u64,
    /// Bits 64 to 127.
    pub features_hi: u64,
    /// Number of queues.
    pub queues: u32,
    /// Bytes of configuration space that mean something.
    pub config_len: u32,
    /// Odd while the configuration changes.
    pub config_gen: u32,
    /// Device status as the host has accepted it.
    pub status: u32,
    /// The guest's port for handshake and changes of configuration.
    pub config_port: u32,
    /// The last `drv_seq` the host has acted upon.
    pub host_seq: u32,
    /// Bits of [`mode`].
    pub mode: u32,
    /// The domain that serves the device.
    pub backend_domain: u32,
}
const _: () = assert!(size_of::<DeviceHead>() == 0x48);
const _: () = assert!(core::mem::offset_of!(DeviceHead, incarnation) == offset::INCARNATION);
const _: () = assert!(core::mem::offset_of!(DeviceHead, state) == offset::STATE);
const _: () = assert!(core::mem::offset_of!(DeviceHead, config_gen) == offset::CONFIG_GEN);
const _: () = assert!(core::mem::offset_of!(DeviceHead, status) == offset::STATUS);
const _: () = assert!(core::mem::offset_of!(DeviceHead, host_seq) == offset::HOST_SEQ);

/// What the host offers for a queue.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct QueueOffer {
    /// The guest's event port: kicks one way, interrupts the other.
    pub port: u32,
    /// The largest size.
    pub max_size: u16,
    /// 0.
    pub reserved: u16,
}
const _: () = assert!(size_of::<QueueOffer>() == 8);
const _: () = assert!(offset::CONFIG + CONFIG_LEN <= offset::OFFERS);
const _: () = assert!(offset::OFFERS + 64 * size_of::<QueueOffer>() <= offset::DRIVER);

/// The guest's half.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DriverHead {
    /// Device status wanted; 0 is a reset.
    pub status: u32,
    /// Raised with each request to the host.
    pub drv_seq: u32,
    /// Features accepted, bits 0 to 63.
    pub features_lo: u64,
    /// Bits 64 to 127.
    pub features_hi: u64,
    /// Raised after the guest wrote configuration; no device here takes any.
    pub config_wseq: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<DriverHead>() == 0x20);
const _: () =
    assert!(core::mem::offset_of!(DriverHead, drv_seq) + offset::DRIVER == offset::DRV_SEQ);
const _: () = assert!(offset::DRIVER + size_of::<DriverHead>() <= offset::SETUPS);

/// Where the guest has put a queue.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct QueueSetup {
    /// Guest-physical address of the descriptor table.
    pub desc: u64,
    /// Of the ring the driver writes (available).
    pub driver: u64,
    /// Of the ring the device writes (used).
    pub device: u64,
    /// Descriptors.
    pub size: u16,
    /// 1: it is used.
    pub enabled: u16,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<QueueSetup>() == 32);
const _: () = assert!(offset::SETUPS + QUEUES_MAX * size_of::<QueueSetup>() <= PAGE_LEN);

/// The whole of the driver's half, to be copied in one go.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DriverHalf {
    /// Status and features.
    pub head: DriverHead,
    /// Between the two.
    pub reserved: [u8; offset::SETUPS - offset::DRIVER - size_of::<DriverHead>()],
    /// Queues.
    pub queues: [QueueSetup; QUEUES_MAX],
}
const _: () = assert!(core::mem::offset_of!(DriverHalf, queues) == offset::SETUPS - offset::DRIVER);

/// The features a guest accepted, if they are among those offered and the
/// modern interface is one of them.
pub fn check_features(head: &DriverHead, offered: u64) -> Result<u64, Fault> {
    let accepted = head.features_lo;
    if accepted & !offered != 0 || head.features_hi != 0 || accepted & feature::VERSION_1 == 0 {
        return Err(Fault::Features);
    }
    Ok(accepted)
}

/// A queue that is fit to be used once its rings are known to lie in the
/// guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Descriptors: a power of two.
    pub size: u16,
    /// Descriptor table, aligned to 16.
    pub desc: u64,
    /// Available ring, aligned to 2.
    pub driver: u64,
    /// Used ring, aligned to 4.
    pub device: u64,
}

impl Queue {
    /// Address and length of each of the three parts (virtio 1.2, 2.7), with
    /// the event index of both rings.
    pub fn parts(&self) -> [(u64, u64); 3] {
        let n = u64::from(self.size);
        [(self.desc, 16 * n), (self.driver, 6 + 2 * n), (self.device, 6 + 8 * n)]
    }
}

/// Size and alignment of a queue (virtio 1.2, 2.7); `None` if it is not used.
pub fn check_queue(setup: &QueueSetup, max_size: u16) -> Result<Option<Queue>, Fault> {
    if setup.enabled == 0 {
        return Ok(None);
    }
    if !setup.size.is_power_of_two() || setup.size > max_size {
        return Err(Fault::QueueSize);
    }
    let QueueSetup { desc, driver, device, size, .. } = *setup;
    let aligned = desc.is_multiple_of(16) && driver.is_multiple_of(2) && device.is_multiple_of(4);
    let queue = Queue { size, desc, driver, device };
    let ends = queue.parts().into_iter().all(|(at, len)| at != 0 && at.checked_add(len).is_some());
    if aligned && ends { Ok(Some(queue)) } else { Err(Fault::QueueAddress) }
}
