// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must outlive a killed backend: the device's status, where its queues
//! are, and which requests are in flight. A mapped file, stored to in an order
//! such that at every moment its content is right, or its successor can tell.
//!
//! Per queue, after vhost-user's in-flight tracking: a request that is taken
//! gets a number in its entry ([`Queue::begin`]); before its completion becomes
//! visible to the guest it is named in `last` ([`Queue::finishing`]), and only
//! after that the entry is cleared and the count of completions raised
//! ([`Queue::finished`]). A successor ([`Queue::recover`]) compares that count
//! with the guest's used ring: if the ring is one ahead, `last` was completed.
//! Everything else that has a number is done again, in the order of numbers;
//! what is read or written twice is the same, as the guest was not told of it.

use crate::Error;
use hv_client::SharedFile;
use hv_io::slot::{QUEUES_MAX, Queue as Place};
use hv_io::{Fault, status};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Largest size of a queue.
pub const SIZE_MAX: u16 = 1024;

const MAGIC: u32 = u32::from_le_bytes(*b"HVST");
const VERSION: u32 = 1;

/// Offsets of the head.
mod head {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 4;
    pub const INCARNATION: usize = 8;
    pub const STATUS: usize = 12;
    pub const ANSWERED: usize = 16;
    pub const FEATURES: usize = 24;
    pub const LEN: usize = 64;
}

/// Offsets of a queue.
mod queue {
    pub const DESC: usize = 0;
    pub const DRIVER: usize = 8;
    pub const DEVICE: usize = 16;
    /// 0: not in use.
    pub const SIZE: usize = 24;
    pub const USED: usize = 28;
    /// Head + 1 of the latest completion.
    pub const LAST: usize = 32;
    pub const COUNTER: usize = 40;
    pub const ENTRIES: usize = 64;
    pub const LEN: usize = ENTRIES + super::SIZE_MAX as usize * 8;
}

const LEN: usize = head::LEN + QUEUES_MAX * queue::LEN;

/// See the module.
#[derive(Debug)]
pub struct State {
    file: SharedFile,
    /// Held with a lock: one backend serves a device.
    _lock: OwnedFd,
}

impl State {
    /// Opens or makes the file. It is somebody else's if `incarnation` differs:
    /// then it is made anew.
    pub fn open(path: &Path, incarnation: u32) -> Result<Self, Error> {
        let no = |what: &str, e: rustix::io::Errno| {
            Error::system(format!("{what} {}", path.display()), e)
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(|e| no("open", e))?;
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| no("lock", e))?;
        rustix::fs::ftruncate(&fd, LEN as u64).map_err(|e| no("size", e))?;
        let state = Self { file: SharedFile::new(fd.as_fd(), LEN)?, _lock: fd };
        let same = state.file.get(head::MAGIC) == MAGIC
            && state.file.get(head::VERSION) == VERSION
            && state.file.get(head::INCARNATION) == incarnation;
        if !same {
            state.file.set(head::MAGIC, 0);
            state.file.set(head::STATUS, 0);
            state.file.set(head::ANSWERED, 0);
            state.file.set(head::INCARNATION, incarnation);
            state.file.set(head::VERSION, VERSION);
        }
        Ok(state)
    }

    /// Whether a predecessor has filled the device's page.
    pub fn published(&self) -> bool {
        self.file.get(head::MAGIC) == MAGIC
    }

    /// The page is filled.
    pub fn publish(&self) {
        self.file.set(head::MAGIC, MAGIC);
    }

    /// The status in force.
    pub fn status(&self) -> u32 {
        self.file.get(head::STATUS)
    }

    /// Puts a status in force.
    pub fn set_status(&self, status: u32) {
        self.file.set(head::STATUS, status);
    }

    /// The last request of the guest that was acted upon.
    pub fn answered(&self) -> u32 {
        self.file.get(head::ANSWERED)
    }

    /// A request of the guest was acted upon.
    pub fn set_answered(&self, request: u32) {
        self.file.set(head::ANSWERED, request);
    }

    /// Features the guest accepted.
    pub fn features(&self) -> u64 {
        self.file.get_long(head::FEATURES)
    }

    /// Whether queues are in use.
    pub fn runs(&self) -> bool {
        self.status() & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    /// Notes features and queues, with nothing in flight; before the status.
    pub fn set_up(&self, features: u64, queues: &[Option<Place>]) {
        self.file.set_long(head::FEATURES, features);
        for (i, place) in queues.iter().enumerate().take(QUEUES_MAX) {
            let base = head::LEN + i * queue::LEN;
            let place = place.unwrap_or(Place { size: 0, desc: 0, driver: 0, device: 0 });
            self.file.set_long(base + queue::DESC, place.desc);
            self.file.set_long(base + queue::DRIVER, place.driver);
            self.file.set_long(base + queue::DEVICE, place.device);
            self.file.set(base + queue::SIZE, place.size.into());
            self.file.set(base + queue::USED, 0);
            self.file.set(base + queue::LAST, 0);
            self.file.set_long(base + queue::COUNTER, 0);
            for entry in 0..usize::from(place.size.min(SIZE_MAX)) {
                self.file.set_long(base + queue::ENTRIES + entry * 8, 0);
            }
        }
    }

    /// A queue, as it was set up; `None` if it is not in use.
    pub fn queue(self: &Arc<Self>, index: usize) -> Option<(Place, Queue)> {
        let base = head::LEN + index.min(QUEUES_MAX - 1) * queue::LEN;
        let size = self.file.get(base + queue::SIZE) as u16;
        let place = Place {
            size: size.min(SIZE_MAX),
            desc: self.file.get_long(base + queue::DESC),
            driver: self.file.get_long(base + queue::DRIVER),
            device: self.file.get_long(base + queue::DEVICE),
        };
        let tracked = Queue { state: self.clone(), base, size: place.size };
        (size > 0 && index < QUEUES_MAX).then_some((place, tracked))
    }
}

/// What a successor must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Completions so far, modulo 2^16: the used ring's index.
    pub used: u16,
    /// Requests taken so far: where to go on in the available ring.
    pub taken: u16,
    /// Heads of requests to do again, in the order they came.
    pub again: Vec<u16>,
}

/// The requests in flight of one queue.
#[derive(Debug)]
pub struct Queue {
    state: Arc<State>,
    base: usize,
    size: u16,
}

impl Queue {
    fn entry(&self, head: u16) -> usize {
        self.base + queue::ENTRIES + usize::from(head) * 8
    }

    /// A request is taken. One that is in flight already can't be taken again.
    pub fn begin(&self, head: u16) -> Result<(), Fault> {
        if head >= self.size || self.state.file.get_long(self.entry(head)) != 0 {
            return Err(Fault::Chain);
        }
        let number = self.state.file.get_long(self.base + queue::COUNTER) + 1;
        self.state.file.set_long(self.base + queue::COUNTER, number);
        self.state.file.set_long(self.entry(head), number);
        Ok(())
    }

    /// The guest is about to see its completion.
    pub fn finishing(&self, head: u16) {
        self.state.file.set(self.base + queue::LAST, u32::from(head) + 1);
    }

    /// The guest can see its completion, and `used` of them.
    pub fn finished(&self, head: u16, used: u16) {
        self.state.file.set_long(self.entry(head), 0);
        self.state.file.set(self.base + queue::USED, used.into());
    }

    /// What is left to do; `ring` is the index in the guest's used ring. The
    /// guest can write to it, but a lie makes it lose its own requests only.
    pub fn recover(&self, ring: u16) -> Recovery {
        let mut used = self.state.file.get(self.base + queue::USED) as u16;
        let last = self.state.file.get(self.base + queue::LAST);
        if ring == used.wrapping_add(1)
            && let Some(head) = last.checked_sub(1).filter(|head| *head < self.size.into())
        {
            used = ring;
            self.finished(head as u16, used);
        }
        let numbered =
            (0..self.size).map(|head| (self.state.file.get_long(self.entry(head)), head));
        let mut again: Vec<(u64, u16)> = numbered.filter(|(number, _)| *number != 0).collect();
        again.sort_unstable();
        let taken = used.wrapping_add(again.len() as u16);
        Recovery { used, taken, again: again.into_iter().map(|(_, head)| head).collect() }
    }
}
