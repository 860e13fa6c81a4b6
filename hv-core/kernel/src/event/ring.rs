// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run of pinned guest pages seen as 32-bit words, and the event ring on
//! top of one.

use crate::domain::Domain;
use crate::guest_memory;
use crate::memory::pool::{self, Fate};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hv_abi::{PAGE_SIZE, Status};
use hv_hal::addr::Frame;
use hv_hal::mem;

/// Words in a page.
const PER_PAGE: usize = 1024;

/// A power of two of 32-bit words in a domain's memory, pinned for the core.
pub struct Words {
    frames: Vec<Frame>,
    count: usize,
}

impl Words {
    /// Pins the pages; all or none.
    pub fn pin(domain: &Domain, gpa: u64, log2: u32) -> Result<Self, Status> {
        let count = 1usize << log2;
        let pages = count.div_ceil(PER_PAGE);
        if !gpa.is_multiple_of(PAGE_SIZE) {
            return Err(Status::Invalid);
        }
        let mut frames = Vec::new();
        if !pool::make_room(pages * size_of::<Frame>()) || frames.try_reserve_exact(pages).is_err()
        {
            return Err(Status::NoMemory);
        }
        let mut words = Self { frames, count };
        for page in 0..pages as u64 {
            let frame = gpa
                .checked_add(page * PAGE_SIZE)
                .ok_or(Status::Fault)
                .and_then(|at| guest_memory::frame(domain, at));
            match frame {
                Ok(frame) if pool::pin(frame, domain.id) => words.frames.push(frame),
                _ => {
                    words.unpin();
                    return Err(Status::Fault);
                }
            }
        }
        Ok(words)
    }

    /// Ends the core's use of the pages. Their domain still owns them: it is
    /// dying, and its teardown, which comes after, frees them.
    pub fn unpin(&self) {
        for frame in &self.frames {
            let fate = pool::unpin(*frame);
            debug_assert!(fate != Fate::Nobodys && fate != Fate::Wrong);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Copies bytes out, from a word on, within one page.
    pub fn read(&self, index: usize, buf: &mut [u8]) {
        if let Some(frame) = self.frames.get(index / PER_PAGE) {
            mem::read(*frame, index % PER_PAGE * 4, buf);
        }
    }

    /// One word.
    pub fn get(&self, index: usize) -> Option<&'static AtomicU32> {
        if index >= self.count {
            return None;
        }
        let frame = self.frames.get(index / PER_PAGE)?;
        Some(mem::word(*frame, index % PER_PAGE * 4))
    }
}

/// One vCPU's ring of one priority. Several CPUs may append at once: each
/// takes a slot by counting up.
pub struct Ring {
    /// The slots.
    pub slots: Words,
    produced: AtomicU64,
}

impl Ring {
    /// An empty ring on pinned slots, which are zeroed.
    pub fn new(slots: Words) -> Self {
        for i in 0..slots.count() {
            if let Some(slot) = slots.get(i) {
                slot.store(0, Ordering::Relaxed);
            }
        }
        Self { slots, produced: AtomicU64::new(0) }
    }

    /// Appends a port. The guest can only spoil its own ring.
    pub fn append(&self, port: u32) {
        let at = self.produced.fetch_add(1, Ordering::AcqRel) as usize;
        if let Some(slot) = self.slots.get(at & (self.slots.count() - 1)) {
            slot.store(port + 1, Ordering::SeqCst);
        }
    }
}
