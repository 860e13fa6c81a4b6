// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue of a device: requests out, completions in, on `virtio-queue`.
//!
//! [`Ring::pop`] gives a [`Chain`]: ranges that lie in the guest's memory, those
//! to be read before those to be written. [`Ring::finish`] completes one, in any
//! order; [`Ring::notify`] tells the guest, if it wants to know, once for all
//! completions since. What the guest does wrong is a [`Fault`], after which the
//! ring is of no use.
//!
//! Descriptors are walked here and not by `virtio-queue`'s iterator: that one
//! ends at a broken descriptor as at a last one, and cannot begin at the head
//! of a request that a killed predecessor had taken.

use crate::track;
use hv_client::uring::Range;
use hv_client::{EventPort, GuestMemory};
use hv_io::slot::Queue as Place;
use hv_io::{Fault, feature};
use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Error as QueueError, Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

/// The most descriptors of a request: what one read or write takes, and the
/// header and status around it.
pub const DESCRIPTORS_MAX: usize = hv_client::uring::RANGES_MAX + 2;

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (virtio 1.2, 2.7.6).
const NO_INTERRUPT: u16 = 1;

/// A request's buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the queue.
    pub head: u16,
    /// What we may read.
    pub readable: Vec<Range>,
    /// What we may write.
    pub writable: Vec<Range>,
}

/// Bytes of all ranges.
pub fn total(ranges: &[Range]) -> u64 {
    ranges.iter().map(|range| u64::from(range.len)).sum()
}

/// See the module.
pub struct Ring {
    queue: Queue,
    memory: GuestMemory,
    track: track::Queue,
    port: Arc<EventPort>,
    indirect: bool,
    event_idx: bool,
    flags: GuestAddress,
    again: std::vec::IntoIter<u16>,
    /// Completions that the guest was not told of.
    untold: bool,
    /// Index of the used ring when the guest was told last.
    told: u16,
    /// Requests are completed in the order they came, and not tracked: a
    /// successor goes on behind the last that the guest saw completed.
    in_order: bool,
    resumed: bool,
}

impl Ring {
    /// A queue whose place was checked by `hv_io::slot::check_queue`. `resume`:
    /// go on where a killed predecessor stopped.
    pub(crate) fn new(
        memory: GuestMemory,
        (place, track): (Place, track::Queue),
        port: Arc<EventPort>,
        features: u64,
        resume: bool,
        in_order: bool,
    ) -> Result<Self, Fault> {
        // The queue must lie in memory, each part in one piece.
        if !place.parts().iter().all(|(at, len)| memory.holds(*at, *len as usize)) {
            return Err(Fault::QueueAddress);
        }
        let mut queue = Queue::new(track::SIZE_MAX).map_err(fault)?;
        queue.try_set_size(place.size).map_err(fault)?;
        queue.try_set_desc_table_address(GuestAddress(place.desc)).map_err(fault)?;
        queue.try_set_avail_ring_address(GuestAddress(place.driver)).map_err(fault)?;
        queue.try_set_used_ring_address(GuestAddress(place.device)).map_err(fault)?;
        let event_idx = features & feature::RING_EVENT_IDX != 0;
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        let mut again = Vec::new();
        if resume {
            let ring = queue.used_idx(&*memory, Ordering::Acquire).map_err(fault)?;
            if in_order {
                // A guest that lies here loses its own requests only.
                queue.set_next_used(ring.0);
                queue.set_next_avail(ring.0);
            } else {
                let recovery = track.recover(ring.0);
                queue.set_next_used(recovery.used);
                queue.set_next_avail(recovery.taken);
                again = recovery.again;
            }
        }
        let told = queue.next_used();
        Ok(Self {
            queue,
            memory,
            track,
            port,
            indirect: features & feature::RING_INDIRECT_DESC != 0,
            event_idx,
            flags: GuestAddress(place.driver),
            again: again.into_iter(),
            untold: resume,
            told,
            in_order,
            resumed: resume,
        })
    }

    /// Whether it goes on where a killed predecessor stopped.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The eventfd that the guest's kicks signal, as [`EventPort`] has it.
    pub fn port(&self) -> &EventPort {
        &self.port
    }

    /// The next request: first those that a predecessor had taken.
    pub fn pop(&mut self) -> Result<Option<Chain>, Fault> {
        if let Some(head) = self.again.next() {
            return self.walk(head).map(Some);
        }
        let memory = &*self.memory;
        let next = Wrapping(self.queue.next_avail());
        let available = self.queue.avail_idx(memory, Ordering::Acquire).map_err(fault)?;
        if available == next {
            return Ok(None);
        }
        if (available - next).0 > self.queue.size() {
            return Err(Fault::RingIndex);
        }
        let position = u64::from(next.0 % self.queue.size());
        let at = GuestAddress(self.queue.avail_ring() + 4 + 2 * position);
        let head: u16 = memory.load(at, Ordering::Acquire).map_err(|_| Fault::QueueAddress)?;
        // In this order: a predecessor's successor counts what was begun.
        if !self.in_order {
            self.track.begin(head)?;
        }
        self.queue.set_next_avail((next + Wrapping(1)).0);
        self.walk(head).map(Some)
    }

    fn walk(&self, head: u16) -> Result<Chain, Fault> {
        let (table, size) = (self.queue.desc_table(), self.queue.size());
        let mut chain = Chain { head, ..Chain::default() };
        let mut indirect = false;
        let (mut table, mut size, mut index) = (table, u32::from(size), u32::from(head));
        let mut left = DESCRIPTORS_MAX.min(size as usize);
        loop {
            if index >= size || left == 0 {
                return Err(Fault::Chain);
            }
            left -= 1;
            let at = table.checked_add(16 * u64::from(index)).ok_or(Fault::Chain)?;
            let descriptor: Descriptor =
                self.memory.read_obj(GuestAddress(at)).map_err(|_| Fault::BufferAddress)?;
            let (gpa, len) = (descriptor.addr().0, descriptor.len());
            if descriptor.refers_to_indirect_table() {
                // A table stands alone, and in no table (virtio 1.2, 2.7.5.3).
                let alone = chain.readable.is_empty() && chain.writable.is_empty();
                if !self.indirect || indirect || !alone || descriptor.has_next() {
                    return Err(Fault::Chain);
                }
                if len == 0 || len % 16 != 0 || !self.memory.holds(gpa, len as usize) {
                    return Err(Fault::Chain);
                }
                (table, size, index, indirect) = (gpa, len / 16, 0, true);
                left = DESCRIPTORS_MAX.min(size as usize);
                continue;
            }
            if len == 0 || !self.memory.holds(gpa, len as usize) {
                return Err(Fault::BufferAddress);
            }
            let range = Range { gpa, len };
            match descriptor.is_write_only() {
                true => chain.writable.push(range),
                false if chain.writable.is_empty() => chain.readable.push(range),
                false => return Err(Fault::Buffers),
            }
            if !descriptor.has_next() {
                return Ok(chain);
            }
            index = descriptor.next().into();
        }
    }

    /// Completes a request of which `written` bytes were written.
    pub fn finish(&mut self, head: u16, written: u32) -> Result<(), Fault> {
        if self.in_order {
            return self.finish_all(&[(head, written)]);
        }
        self.track.finishing(head);
        self.queue.add_used(&*self.memory, head, written).map_err(fault)?;
        self.track.finished(head, self.queue.next_used());
        self.untold = true;
        Ok(())
    }

    /// Completes requests of a device that does so in order, each with the bytes
    /// written. The guest sees all of them at once, as those of one packet must
    /// be (virtio 1.2, 5.1.6.4).
    pub fn finish_all(&mut self, done: &[(u16, u32)]) -> Result<(), Fault> {
        let (used, size) = (self.queue.used_ring(), self.queue.size());
        let mut next = self.queue.next_used();
        for (head, written) in done {
            let element = [(*head).into(), *written];
            let at = GuestAddress(used + 4 + 8 * u64::from(next % size));
            self.memory.write_obj::<[u32; 2]>(element, at).map_err(|_| Fault::QueueAddress)?;
            next = next.wrapping_add(1);
        }
        self.memory
            .store(next, GuestAddress(used + 2), Ordering::Release)
            .map_err(|_| Fault::QueueAddress)?;
        self.queue.set_next_used(next);
        self.untold |= !done.is_empty();
        Ok(())
    }

    /// Whether the guest wants to hear of what was completed since it was told
    /// last (virtio 1.2, 2.7.7.2).
    fn is_wanted(&mut self) -> Result<bool, Fault> {
        std::sync::atomic::fence(Ordering::SeqCst);
        let load = |at: u64| {
            self.memory.load(GuestAddress(at), Ordering::Acquire).map_err(|_| Fault::QueueAddress)
        };
        if !self.event_idx {
            let flags: u16 = load(self.flags.0)?;
            return Ok(flags & NO_INTERRUPT == 0);
        }
        let at = self.queue.avail_ring() + 4 + 2 * u64::from(self.queue.size());
        let (event, new): (u16, u16) = (load(at)?, self.queue.next_used());
        let old = std::mem::replace(&mut self.told, new);
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }

    /// Tells the guest of completions, if there were any and it wants to know.
    pub fn notify(&mut self) -> Result<bool, Fault> {
        if !std::mem::take(&mut self.untold) {
            return Ok(false);
        }
        let wanted = self.is_wanted()?;
        if wanted {
            // A guest that is gone needs no telling.
            let _ = self.port.send();
        }
        Ok(wanted)
    }

    /// Raises the guest whether it asked or not: after a restart.
    pub fn wake(&mut self) {
        let _ = self.port.send();
    }

    /// Asks the guest not to kick.
    pub fn quiet(&mut self) -> Result<(), Fault> {
        self.queue.disable_notification(&*self.memory).map_err(fault)
    }

    /// Asks the guest to kick; whether there is something to pop already.
    pub fn listen(&mut self) -> Result<bool, Fault> {
        self.queue.enable_notification(&*self.memory).map_err(fault)
    }

    /// Copies from ranges of a chain, from a byte of theirs on.
    pub fn copy_out(&self, ranges: &[Range], skip: u64, into: &mut [u8]) -> Result<(), Fault> {
        for (gpa, part) in pieces(ranges, skip, into.len())? {
            self.memory
                .read_slice(&mut into[part], GuestAddress(gpa))
                .map_err(|_| Fault::BufferAddress)?;
        }
        Ok(())
    }

    /// Copies to ranges of a chain, from a byte of theirs on.
    pub fn copy_in(&self, ranges: &[Range], skip: u64, from: &[u8]) -> Result<(), Fault> {
        for (gpa, part) in pieces(ranges, skip, from.len())? {
            self.memory
                .write_slice(&from[part], GuestAddress(gpa))
                .map_err(|_| Fault::BufferAddress)?;
        }
        Ok(())
    }
}

/// Addresses of `len` bytes from byte `skip` of the ranges on, with the part of
/// the bytes that is there.
fn pieces(
    ranges: &[Range],
    skip: u64,
    len: usize,
) -> Result<Vec<(u64, std::ops::Range<usize>)>, Fault> {
    let mut pieces = Vec::new();
    let (mut skip, mut done) = (skip, 0);
    for range in ranges {
        let here = u64::from(range.len);
        if skip >= here {
            skip -= here;
            continue;
        }
        let n = (here - skip).min((len - done) as u64) as usize;
        if n > 0 {
            pieces.push((range.gpa + skip, done..done + n));
        }
        (skip, done) = (0, done + n);
    }
    if done == len { Ok(pieces) } else { Err(Fault::Buffers) }
}

/// What `virtio-queue` says, as whose fault it is.
fn fault(error: QueueError) -> Fault {
    match error {
        QueueError::InvalidAvailRingIndex => Fault::RingIndex,
        QueueError::InvalidSize | QueueError::InvalidMaxSize => Fault::QueueSize,
        QueueError::InvalidDescriptorIndex | QueueError::InvalidChain => Fault::Chain,
        _ => Fault::QueueAddress,
    }
}
