// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-blk (virtio 1.2, 5.2): requests of whole sectors, any number at once.

use core::cell::UnsafeCell;

use hv_abi::Hypercall;
use hv_io::blk::{Header, request};
use hv_io::{device_id, feature};

use super::device::Device;
use super::queue::{Memory, Part, Queue, Used};
use super::wait;
use crate::hypercall::{call, gpa};
use crate::{Outcome, check_eq, failure, ok};

/// A status that no device answers: not answered yet.
pub const NO_STATUS: u8 = 0xff;
/// Requests that can be out at once.
pub const SLOTS: usize = 64;

/// A request's header and status, which the device reads and writes.
#[repr(C)]
struct Slot {
    header: Header,
    status: u8,
}

/// What a disk shares with its device; one for each disk.
pub struct Shared {
    queue: Memory,
    slots: UnsafeCell<[Slot; SLOTS]>,
}

// SAFETY: used by one `Block` by volatile accesses.
unsafe impl Sync for Shared {}

impl Shared {
    /// For a disk that is not open yet.
    pub const fn new() -> Self {
        let slots = [const { Slot { header: Header { kind: 0, reserved: 0, sector: 0 }, status: 0 } };
            SLOTS];
        Self { queue: Memory::new(), slots: UnsafeCell::new(slots) }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// A disk.
pub struct Block {
    /// Its device.
    pub device: Device,
    queue: Queue,
    port: u64,
    shared: &'static Shared,
    /// Slot of each head that is out.
    slot_of: [u8; super::queue::SIZE],
    busy: u64,
    /// Bytes / 512.
    pub sectors: u64,
}

/// A request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What `submit` returned.
    pub slot: usize,
    /// What the device answered.
    pub status: u8,
    /// Bytes it wrote, the status included.
    pub len: u32,
}

impl Block {
    /// Opens the disk whose device page is at `page`.
    ///
    /// # Safety
    /// As [`Device::open`]; nobody else uses `shared`.
    pub unsafe fn open(page: u64, shared: &'static Shared) -> Outcome<Self> {
        // SAFETY: the caller's.
        let device = unsafe { Device::open(page, device_id::BLOCK, feature::RING_EVENT_IDX)? };
        let event_index = device.features & feature::RING_EVENT_IDX != 0;
        let queue = Queue::new(&shared.queue, device.queue_size(0), event_index);
        let port = device.set_queue(0, &queue)?;
        device.start()?;
        let sectors = u64::from_le_bytes(device.config(0));
        let slot_of = [0; super::queue::SIZE];
        Ok(Self { device, queue, port, shared, slot_of, busy: 0, sectors })
    }

    fn slot(&self, index: usize) -> *mut Slot {
        assert!(index < SLOTS);
        // SAFETY: within the array.
        unsafe { self.shared.slots.get().cast::<Slot>().add(index) }
    }

    /// Puts a request into the queue; `None` when it is full. The device sees
    /// it after [`Self::kick`].
    ///
    /// # Safety
    /// `len` bytes at `data` are free for the device until the request is done.
    pub unsafe fn submit(&mut self, kind: u32, sector: u64, data: u64, len: u32) -> Option<usize> {
        let index = (!self.busy).trailing_zeros() as usize;
        if index >= SLOTS {
            return None;
        }
        let slot = self.slot(index);
        let header = Header { kind, reserved: 0, sector };
        // SAFETY: a slot that is not busy is this side's.
        unsafe { slot.write_volatile(Slot { header, status: NO_STATUS }) };
        let part = |address, len, write| Part { address, len, write };
        let write = kind != request::OUT;
        let header = part(slot as u64, 16, false);
        let answer = part(slot as u64 + 16, 1, true);
        let head = match len {
            0 => self.queue.add(&[header, answer])?,
            _ => self.queue.add(&[header, part(data, len, write), answer])?,
        };
        self.busy |= 1 << index;
        self.slot_of[usize::from(head)] = index as u8;
        Some(index)
    }

    /// Shows the device what was submitted; whether it had to be kicked.
    pub fn kick(&mut self) -> Outcome<bool> {
        let wanted = self.queue.publish();
        if wanted {
            ok!(call(Hypercall::EventSend { port: self.port }));
        }
        Ok(wanted)
    }

    /// The next request that is done, without waiting.
    pub fn poll(&mut self) -> Outcome<Option<Done>> {
        let Some(Used { head, len }) = ok!(self.queue.take()) else { return Ok(None) };
        let slot = usize::from(self.slot_of[usize::from(head)]);
        self.busy &= !(1 << slot);
        // SAFETY: the request is done, so the slot is this side's.
        let status = unsafe { (&raw const (*self.slot(slot)).status).read_volatile() };
        Ok(Some(Done { slot, status, len }))
    }

    /// The next request that is done.
    pub fn wait(&mut self) -> Outcome<Done> {
        loop {
            if let Some(done) = self.poll()? {
                return Ok(done);
            }
            if !self.queue.arm() {
                let queue = &self.queue;
                wait("a completion", || queue.has_used())?;
            }
        }
    }

    /// One request from beginning to end.
    fn one(&mut self, kind: u32, sector: u64, data: u64, len: usize) -> Outcome<u8> {
        // SAFETY: the callers below hold the buffer until this returns.
        let slot = unsafe { self.submit(kind, sector, data, len as u32) };
        let Some(slot) = slot else { return Err(failure!("the queue is full")) };
        self.kick()?;
        let done = self.wait()?;
        check_eq!(done.slot, slot);
        Ok(done.status)
    }

    /// Reads sectors.
    pub fn read(&mut self, sector: u64, into: &mut [u8]) -> Outcome<u8> {
        self.one(request::IN, sector, into.as_mut_ptr().expose_provenance() as u64, into.len())
    }

    /// Writes sectors.
    pub fn write(&mut self, sector: u64, from: &[u8]) -> Outcome<u8> {
        self.one(request::OUT, sector, gpa(from), from.len())
    }

    /// Makes what was written durable.
    pub fn flush(&mut self) -> Outcome<u8> {
        self.one(request::FLUSH, 0, 0, 0)
    }

    /// The device's serial number.
    pub fn id(&mut self) -> Outcome<([u8; 20], u8)> {
        let mut id = [0; 20];
        let status = self.one(request::GET_ID, 0, (&raw mut id).expose_provenance() as u64, 20)?;
        Ok((id, status))
    }
}
