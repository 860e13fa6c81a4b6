// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of a device's page (`hv_io::slot`): what it writes, and the
//! one copy it takes of what the guest writes.

use crate::Error;
use hv_client::{Core, ForeignMap};
use hv_io::slot::{
    self, CONFIG_LEN, DeviceHead, DriverHalf, MAGIC, PAGE_LEN, QUEUES_MAX, QueueOffer, offset,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// A page of a guest that is ours to fill.
#[derive(Debug)]
pub struct Slot {
    page: ForeignMap,
    generation: AtomicU32,
}

impl Slot {
    /// Maps the page.
    pub fn map(core: &dyn Core, domain: hv_abi::DomainId, gpa: u64) -> Result<Self, Error> {
        Ok(Self { page: core.map(domain, gpa, PAGE_LEN)?, generation: AtomicU32::new(0) })
    }

    /// Fills the page; the guest sees all of it or nothing.
    pub fn publish(
        &self,
        head: &DeviceHead,
        config: &[u8],
        offers: &[QueueOffer],
    ) -> Result<(), Error> {
        if config.len() > CONFIG_LEN || offers.len() > QUEUES_MAX {
            return Err(Error::Settings("the device does not fit into its page".into()));
        }
        self.page.set_word(offset::MAGIC, 0)?;
        self.page.write_object(offset::DEVICE, &DeviceHead { magic: 0, ..*head })?;
        self.page.write(offset::CONFIG, config)?;
        for (i, offer) in offers.iter().enumerate() {
            self.page.write_object(offset::OFFERS + i * size_of::<QueueOffer>(), offer)?;
        }
        // What an earlier device's driver left is no request to this one.
        self.page.write(offset::DRIVER, &[0; PAGE_LEN - offset::DRIVER])?;
        self.page.set_word(offset::MAGIC, MAGIC)?;
        Ok(())
    }

    /// The number of the guest's latest request.
    pub fn request(&self) -> Result<u32, Error> {
        Ok(self.page.word(offset::DRV_SEQ)?)
    }

    /// The guest's half, copied once.
    pub fn driver(&self) -> Result<DriverHalf, Error> {
        Ok(self.page.read_object(offset::DRIVER)?)
    }

    /// Tells the status that is in force.
    pub fn set_status(&self, status: u32) -> Result<(), Error> {
        Ok(self.page.set_word(offset::STATUS, status)?)
    }

    /// Tells up to which request the guest was answered; after the status.
    pub fn set_answered(&self, request: u32) -> Result<(), Error> {
        Ok(self.page.set_word(offset::HOST_SEQ, request)?)
    }

    /// Sets bits of `hv_io::slot::state`.
    pub fn set_state(&self, state: u32) -> Result<(), Error> {
        Ok(self.page.set_word(offset::STATE, state)?)
    }

    /// Replaces the configuration; the guest sees that it changes.
    pub fn configure(&self, config: &[u8]) -> Result<(), Error> {
        let even = self.generation.load(Ordering::Relaxed).wrapping_add(2);
        self.page.set_word(offset::CONFIG_GEN, even.wrapping_sub(1))?;
        // An x86 store does not pass another; the compiler must not move it
        // either, which the release order of both words sees to.
        self.page.write(offset::CONFIG, config)?;
        self.page.set_word(offset::CONFIG_GEN, even)?;
        self.generation.store(even, Ordering::Relaxed);
        Ok(())
    }

    /// Empties the slot.
    pub fn clear(&self) -> Result<(), Error> {
        self.page.set_word(offset::MAGIC, 0)?;
        self.page.set_word(offset::STATE, 0)?;
        Ok(())
    }

    /// Goes on counting generations of the configuration where a predecessor
    /// stopped, as far as the page tells: a wrong number only makes the guest
    /// look once more.
    pub fn resume(&self) -> Result<(), Error> {
        let seen = self.page.word(offset::CONFIG_GEN)?;
        self.generation.store(seen & !1, Ordering::Relaxed);
        Ok(())
    }
}

const _: () = assert!(slot::VERSION == 1);
