// SPDX-License-Identifier: MIT OR Apache-2.0
//! A slot's device page and the handshake over it, from the guest's side.
//! Each field of the device's half is read once and then looked at.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::queue::Queue;
use super::wait;
use crate::hypercall::call;
use crate::{Outcome, check, check_eq, failure, ok};
use hv_abi::Hypercall;
use hv_io::slot::{self, offset as at};
use hv_io::{feature, status};

/// The driver found the device and can drive it (virtio 1.2, 2.1).
pub const FOUND: u32 = status::ACKNOWLEDGE | status::DRIVER;

/// Offsets of fields of the page's heads.
mod field {
    use core::mem::offset_of;
    use hv_io::slot::{DeviceHead, DriverHead, offset};

    pub const VERSION: usize = offset_of!(DeviceHead, version);
    pub const DEVICE_ID: usize = offset_of!(DeviceHead, device_id);
    pub const FEATURES: usize = offset_of!(DeviceHead, features_lo);
    pub const QUEUES: usize = offset_of!(DeviceHead, queues);
    pub const CONFIG_PORT: usize = offset_of!(DeviceHead, config_port);
    pub const DRIVER_STATUS: usize = offset::DRIVER + offset_of!(DriverHead, status);
    pub const DRIVER_FEATURES: usize = offset::DRIVER + offset_of!(DriverHead, features_lo);
}

/// Where a queue's port and largest size are.
const fn offer(index: usize) -> usize {
    at::OFFERS + index * size_of::<slot::QueueOffer>()
}

/// Where the guest says where a queue is.
const fn setup(index: usize) -> usize {
    at::SETUPS + index * size_of::<slot::QueueSetup>()
}

/// A device.
pub struct Device {
    page: u64,
    config_port: u64,
    /// Features agreed upon.
    pub features: u64,
}

impl Device {
    /// The device in the slot whose page is at `page`, reset, with those of
    /// `wanted` features that it offers.
    ///
    /// # Safety
    /// The page is a device page and nothing else of this guest's.
    pub unsafe fn open(page: u64, id: u32, wanted: u64) -> Outcome<Self> {
        let mut device = Self { page, config_port: 0, features: 0 };
        check_eq!(device.get(at::MAGIC), slot::MAGIC);
        check_eq!(device.get(field::VERSION), slot::VERSION);
        check_eq!(device.get(field::DEVICE_ID), id);
        device.config_port = u64::from(device.get(field::CONFIG_PORT));
        device.set_status(0)?;
        let offered = device.get_wide(field::FEATURES);
        check!(offered & feature::VERSION_1 != 0, "features {offered:#x}");
        device.features = offered & (wanted | feature::VERSION_1);
        device.put_wide(field::DRIVER_FEATURES, device.features);
        device.put_wide(field::DRIVER_FEATURES + 8, 0);
        device.set_status(FOUND)?;
        let got = device.set_status(FOUND | status::FEATURES_OK)?;
        check!(got & status::FEATURES_OK != 0, "features were refused, status {got:#x}");
        Ok(device)
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `open`'s caller: the page is there for good, and only
        // touched by atomics; offsets are constants within it.
        unsafe { &*((self.page + offset as u64) as *const AtomicU32) }
    }

    /// A word of the page.
    pub fn get(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Sets a word of the driver's half.
    pub fn put(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn get_wide(&self, offset: usize) -> u64 {
        u64::from(self.get(offset)) | u64::from(self.get(offset + 4)) << 32
    }

    fn put_wide(&self, offset: usize, value: u64) {
        self.put(offset, value as u32);
        self.put(offset + 4, (value >> 32) as u32);
    }

    /// The status the device has accepted.
    pub fn status(&self) -> u32 {
        self.get(at::STATUS)
    }

    /// Raises the device without waiting for it.
    pub fn request(&self) -> Outcome<u32> {
        let number = self.get(at::DRV_SEQ).wrapping_add(1);
        self.put(at::DRV_SEQ, number);
        fence(Ordering::SeqCst);
        ok!(call(Hypercall::EventSend { port: self.config_port }));
        Ok(number)
    }

    /// Asks for a status and waits for what the device makes of it.
    pub fn set_status(&self, status: u32) -> Outcome<u32> {
        self.put(field::DRIVER_STATUS, status);
        let number = self.request()?;
        wait("the device's answer", || self.get(at::HOST_SEQ) == number)?;
        Ok(self.status())
    }

    /// Tells the device where a queue is, and returns its port.
    pub fn set_queue(&self, index: usize, queue: &Queue) -> Outcome<u64> {
        let max = self.get(offer(index) + 4) as u16;
        let ([descriptors, available, used], size) = queue.addresses();
        check!(size <= max, "queue {index} has at most {max} entries");
        let entry = setup(index);
        self.put_wide(entry, descriptors);
        self.put_wide(entry + 8, available);
        self.put_wide(entry + 16, used);
        self.put(entry + 24, u32::from(size) | 1 << 16);
        Ok(u64::from(self.get(offer(index))))
    }

    /// Largest size of a queue that the device allows, but no more than ours.
    pub fn queue_size(&self, index: usize) -> u16 {
        (self.get(offer(index) + 4) as u16).min(super::queue::SIZE as u16)
    }

    /// Number of queues.
    pub fn queues(&self) -> u32 {
        self.get(field::QUEUES)
    }

    /// The driver is ready; the device must be as well.
    pub fn start(&self) -> Outcome {
        let wanted = FOUND | status::FEATURES_OK | status::DRIVER_OK;
        let got = self.set_status(wanted)?;
        if got != wanted {
            return Err(failure!("the device is not ready, status {got:#x}"));
        }
        Ok(())
    }

    /// Bytes of the configuration space, of one generation.
    pub fn config<const N: usize>(&self, offset: usize) -> [u8; N] {
        loop {
            let before = self.get(at::CONFIG_GEN);
            let mut bytes = [0; N];
            for (i, byte) in bytes.iter_mut().enumerate() {
                let place = at::CONFIG + offset + i;
                *byte = (self.get(place & !3) >> (8 * (place & 3))) as u8;
            }
            if before & 1 == 0 && before == self.get(at::CONFIG_GEN) {
                return bytes;
            }
            core::hint::spin_loop();
        }
    }
}
