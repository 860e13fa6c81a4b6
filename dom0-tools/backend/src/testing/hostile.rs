// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that breaks every rule, at random: descriptors that point anywhere,
//! loops, tables within tables, heads that are out already, indices that jump,
//! handshakes in any order. What a test hands in as a good request is sent as
//! it is, or with something spoilt, so that what lies behind the rings gets its
//! share.
//!
//! `HV_HOSTILE_REQUESTS` says how many requests a test makes; a failure names
//! the seed, which `HV_HOSTILE_SEED` repeats.

use super::{BUFFERS, Guest, MEMORY, RING_BYTES, SIZE};
use hv_client::uring::Range;
use hv_io::slot::QueueSetup;
use hv_io::status;

/// See the module.
pub struct Hostile {
    state: u64,
    left: u64,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

impl Hostile {
    /// A driver that makes as many requests as are asked for, else `requests`.
    pub fn new(requests: u64) -> Self {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = setting("HV_HOSTILE_SEED");
        let seed = seed.unwrap_or_else(|| time.map_or(1, |t| t.as_nanos() as u64)) | 1;
        // Shown when the test fails.
        println!("HV_HOSTILE_SEED={seed}");
        Self { state: seed, left: setting("HV_HOSTILE_REQUESTS").unwrap_or(requests) }
    }

    /// Whether there are requests left to make.
    pub fn goes_on(&self) -> bool {
        self.left > 0
    }

    /// A number (xorshift).
    pub fn number(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Some range, mostly in memory.
    pub fn range(&mut self) -> Range {
        let gpa = match self.below(8) {
            0 => self.number(),
            1 => MEMORY - self.below(8192),
            // The rings themselves.
            2 => Guest::rings(0) + self.below(2 * RING_BYTES),
            _ => BUFFERS + self.below(0x10_0000),
        };
        let len = if self.once_in(8) { self.number() as u32 } else { self.below(70_000) as u32 };
        Range { gpa, len }
    }

    /// Asks for a status and features that make no sense, with queues anywhere;
    /// then the whole handshake as it should be.
    pub fn handshake(&mut self, guest: &mut Guest, queues: usize) {
        while self.once_in(3) {
            let queue = self.below(queues as u64) as usize;
            let place = |me: &mut Self| me.range().gpa & !(me.number() & 15);
            let setup = QueueSetup {
                desc: place(self),
                driver: place(self),
                device: place(self),
                size: 1 << self.below(16),
                enabled: self.below(3) as u16,
                reserved: 0,
            };
            guest.set_up(queue, &setup);
            let features = self.number();
            let wanted = if self.once_in(2) { self.number() as u32 } else { 15 };
            guest.ask(wanted | status::ACKNOWLEDGE, features);
        }
        let without =
            self.number() & (hv_io::feature::RING_EVENT_IDX | hv_io::feature::RING_INDIRECT_DESC);
        guest.start(without);
    }

    /// Sends a request, as it is or spoilt.
    pub fn send(
        &mut self,
        guest: &mut Guest,
        queue: usize,
        readable: &[Range],
        writable: &[Range],
    ) {
        self.left = self.left.saturating_sub(1);
        let (mut readable, mut writable) = (readable.to_vec(), writable.to_vec());
        match self.below(6) {
            0 => {
                let all = readable.len() + writable.len();
                let at = self.below(all.max(1) as u64) as usize;
                let range = self.range();
                if let Some(spoilt) = readable.iter_mut().chain(&mut writable).nth(at) {
                    *spoilt = range;
                }
            }
            1 => std::mem::swap(&mut readable, &mut writable),
            2 => drop(writable.pop()),
            _ => {}
        }
        if readable.len() + writable.len() > 0 {
            guest.offer(queue, &readable, &writable);
        }
        if self.once_in(12) {
            self.spoil(guest, queue);
        }
        if self.once_in(4) {
            guest.kick(queue);
        }
    }

    /// Writes nonsense into descriptors, tables and rings.
    fn spoil(&mut self, guest: &mut Guest, queue: usize) {
        let rings = Guest::rings(queue);
        let table = if self.once_in(3) { BUFFERS } else { rings };
        let (range, index) = (self.range(), self.below(SIZE.into()) as u16);
        let (flags, next) = (self.below(8) as u16, self.below(70) as u16);
        match self.below(4) {
            0 => guest.describe(table, index, range, flags, next),
            // A table of descriptors where data was.
            1 => guest.describe(
                rings,
                index,
                Range { gpa: BUFFERS, len: 16 * self.below(70) as u32 },
                4,
                0,
            ),
            2 => {
                let offset = self.below(RING_BYTES - 8);
                guest.write(rings + offset, &self.number().to_le_bytes());
            }
            _ => guest.publish(queue, self.below(66) as u16),
        }
    }
}
