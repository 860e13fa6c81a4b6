// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the tap to the guest: each packet is read into the guest's buffers
//! right away. Buffers are taken from the ring before the packet's size is
//! known, and wait here for the next one if they were too many; the guest sees
//! all buffers of a packet at once (virtio 1.2, 5.1.6.4).

use crate::card::{Card, Way};
use crate::header::{FRAME_MAX, LEN};
use crate::stats::Direction;
use crate::transmit::{BATCH, Next};
use hv_backend::ring::total;
use hv_backend::{Chain, Ring};
use hv_client::tap::Tap;
use hv_client::uring::Range;
use hv_io::Fault;
use hv_io::net::{Header, feature};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem::offset_of;

/// The direction.
pub struct Receive {
    buffers: VecDeque<Chain>,
    capacity: u64,
    need: u64,
    merge: bool,
    /// Bytes that were received, but not yet taken from the limit.
    debt: u64,
    ranges: Vec<Range>,
    used: Vec<(u16, u32)>,
}

/// Why packets can't be received.
#[derive(Debug)]
pub enum Failure {
    /// The guest's fault.
    Guest(Fault),
    /// The tap is gone.
    Tap(std::io::Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Guest(fault)
    }
}

impl Receive {
    /// For a card whose guest accepted `features`.
    pub fn new(card: &Card, features: u64) -> Self {
        let merge = features & feature::MRG_RXBUF != 0;
        let large = features & (feature::GUEST_TSO4 | feature::GUEST_TSO6) != 0;
        let frame = if large { FRAME_MAX } else { card.settings.plain_max() };
        Self {
            buffers: VecDeque::new(),
            capacity: 0,
            // Without merging a packet has one buffer, whatever its size.
            need: if merge { (LEN + frame) as u64 } else { LEN as u64 + 1 },
            merge,
            debt: 0,
            ranges: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Passes on what has come, up to a batch.
    pub fn run(
        &mut self,
        ring: &mut Ring,
        tap: &Tap,
        card: &Card,
        stats: &Direction,
    ) -> Result<Next, Failure> {
        ring.quiet()?;
        for _ in 0..BATCH {
            if self.debt > 0
                && let Some(wait) = card.take(Way::Receive, self.debt)
            {
                stats.throttled.add(1);
                return Ok(Next::Limit(wait));
            }
            self.debt = 0;
            if !self.top_up(ring)? {
                match ring.listen()? {
                    true => continue,
                    false => return Ok(Next::Buffers),
                }
            }
            self.gather();
            let len = match tap.receive(ring.memory(), &self.ranges) {
                Ok(len) => len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Next::Source),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::Tap(e)),
            };
            if len < LEN {
                stats.malformed.add(1);
                continue;
            }
            self.deliver(ring, len as u64)?;
            self.debt = (len - LEN) as u64;
            stats.packets.add(1);
            stats.bytes.add(self.debt);
        }
        Ok(Next::Again)
    }

    /// Takes buffers until the largest packet fits; whether it does.
    fn top_up(&mut self, ring: &mut Ring) -> Result<bool, Fault> {
        while self.capacity < self.need {
            let Some(chain) = ring.pop()? else { return Ok(false) };
            let len = total(&chain.writable);
            if !chain.readable.is_empty() || len < LEN as u64 {
                return Err(Fault::Buffers);
            }
            self.capacity += len;
            self.buffers.push_back(chain);
        }
        Ok(true)
    }

    /// The places for the next packet.
    fn gather(&mut self) {
        self.ranges.clear();
        let mut room = 0;
        for chain in &self.buffers {
            self.ranges.extend_from_slice(&chain.writable);
            room += total(&chain.writable);
            if room >= self.need || !self.merge {
                break;
            }
        }
    }

    /// Gives the guest the buffers that hold a packet of `len` bytes.
    fn deliver(&mut self, ring: &mut Ring, len: u64) -> Result<(), Fault> {
        self.used.clear();
        let mut left = len;
        while left > 0 {
            let Some(chain) = self.buffers.pop_front() else { return Err(Fault::Buffers) };
            let room = total(&chain.writable);
            let here = left.min(room);
            self.capacity -= room;
            left -= here;
            self.used.push((chain.head, here as u32));
        }
        let count = (self.used.len() as u16).to_le_bytes();
        ring.copy_in(&self.ranges, offset_of!(Header, num_buffers) as u64, &count)?;
        ring.finish_all(&self.used)
    }
}
