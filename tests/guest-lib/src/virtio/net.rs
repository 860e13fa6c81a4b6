// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-net (virtio 1.2, 5.1): frames without offloads, one pair of queues.

use core::cell::UnsafeCell;

use hv_abi::Hypercall;
use hv_io::device_id;
use hv_io::feature::RING_EVENT_IDX;
use hv_io::net::feature::MAC;

use super::device::Device;
use super::queue::{Memory, Part, Queue, Used};
use super::wait;
use crate::hypercall::call;
use crate::{Outcome, check, ok};

/// Bytes of the header before each frame (5.1.6).
pub const HEADER: usize = size_of::<hv_io::net::Header>();
/// Bytes of a buffer, header included.
pub const BUFFER: usize = 2048;
/// Buffers each way.
pub const BUFFERS: usize = 64;

type Buffers = UnsafeCell<[[u8; BUFFER]; BUFFERS]>;

/// What an interface shares with its device; one for each interface.
#[repr(C, align(4096))]
pub struct Shared {
    receive: Memory,
    transmit: Memory,
    receive_buffers: Buffers,
    transmit_buffers: Buffers,
}

// SAFETY: used by one `Net`, which leaves alone what the device has.
unsafe impl Sync for Shared {}

impl Shared {
    /// For an interface that is not open yet.
    pub const fn new() -> Self {
        Self {
            receive: Memory::new(),
            transmit: Memory::new(),
            receive_buffers: UnsafeCell::new([[0; BUFFER]; BUFFERS]),
            transmit_buffers: UnsafeCell::new([[0; BUFFER]; BUFFERS]),
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// A network interface.
pub struct Net {
    /// Its device.
    pub device: Device,
    /// Its address.
    pub mac: [u8; 6],
    shared: &'static Shared,
    receive: Queue,
    transmit: Queue,
    ports: [u64; 2],
    /// Buffer of each head that is out.
    receive_of: [u8; super::queue::SIZE],
    transmit_of: [u8; super::queue::SIZE],
    transmit_busy: u64,
}

fn buffer(buffers: &Buffers, index: usize) -> *mut u8 {
    assert!(index < BUFFERS);
    // SAFETY: within the array.
    unsafe { buffers.get().cast::<[u8; BUFFER]>().add(index).cast() }
}

impl Net {
    /// Opens the interface whose device page is at `page`; all receive buffers
    /// are handed out.
    ///
    /// # Safety
    /// As [`Device::open`]; nobody else uses `shared`.
    pub unsafe fn open(page: u64, shared: &'static Shared) -> Outcome<Self> {
        // SAFETY: the caller's.
        let device = unsafe { Device::open(page, device_id::NET, MAC | RING_EVENT_IDX)? };
        check!(device.features & MAC != 0, "the device has no address");
        let event_index = device.features & RING_EVENT_IDX != 0;
        let receive = Queue::new(&shared.receive, device.queue_size(0), event_index);
        let transmit = Queue::new(&shared.transmit, device.queue_size(1), event_index);
        let ports = [device.set_queue(0, &receive)?, device.set_queue(1, &transmit)?];
        device.start()?;
        let mac = device.config(0);
        let none = [0; super::queue::SIZE];
        let mut net = Self {
            device,
            mac,
            shared,
            receive,
            transmit,
            ports,
            receive_of: none,
            transmit_of: none,
            transmit_busy: 0,
        };
        for index in 0..BUFFERS.min(usize::from(net.receive.size())) {
            net.hand_out(index);
        }
        net.kick_receive()?;
        Ok(net)
    }

    fn hand_out(&mut self, index: usize) {
        let address = buffer(&self.shared.receive_buffers, index) as u64;
        let part = Part { address, len: BUFFER as u32, write: true };
        // There are at least as many descriptors as buffers.
        if let Some(head) = self.receive.add(&[part]) {
            self.receive_of[usize::from(head)] = index as u8;
        }
    }

    fn kick_receive(&mut self) -> Outcome {
        if self.receive.publish() {
            ok!(call(Hypercall::EventSend { port: self.ports[0] }));
        }
        Ok(())
    }

    /// Takes back buffers of frames that were sent.
    fn reap(&mut self) -> Outcome {
        while let Some(used) = ok!(self.transmit.take()) {
            self.transmit_busy &= !(1 << self.transmit_of[usize::from(used.head)]);
        }
        Ok(())
    }

    /// Sends a frame with a header of the caller's; waits while all buffers are
    /// out. Kicks only when the device wants it.
    pub fn send_with(&mut self, header: [u8; HEADER], frame: &[u8]) -> Outcome {
        check!(frame.len() + HEADER <= BUFFER, "a frame of {} bytes", frame.len());
        self.reap()?;
        while self.transmit_busy == u64::MAX || self.transmit.free() == 0 {
            if !self.transmit.arm() {
                let queue = &self.transmit;
                wait("a sent frame", || queue.has_used())?;
            }
            self.reap()?;
        }
        let index = (!self.transmit_busy).trailing_zeros() as usize;
        let to = buffer(&self.shared.transmit_buffers, index);
        // SAFETY: a buffer that is not busy is this side's; the length was
        // checked.
        unsafe {
            core::ptr::copy_nonoverlapping(header.as_ptr(), to, HEADER);
            core::ptr::copy_nonoverlapping(frame.as_ptr(), to.add(HEADER), frame.len());
        }
        let len = (HEADER + frame.len()) as u32;
        let head = self.transmit.add(&[Part { address: to as u64, len, write: false }]);
        check!(head.is_some(), "the queue is full");
        let head = head.map_or(0, usize::from);
        self.transmit_of[head] = index as u8;
        self.transmit_busy |= 1 << index;
        if self.transmit.publish() {
            ok!(call(Hypercall::EventSend { port: self.ports[1] }));
        }
        Ok(())
    }

    /// Sends a frame as it is.
    pub fn send(&mut self, frame: &[u8]) -> Outcome {
        self.send_with([0; HEADER], frame)
    }

    /// Frames that the device has not used yet.
    pub fn unsent(&mut self) -> Outcome<u16> {
        self.reap()?;
        Ok(self.transmit.out())
    }

    /// Takes a frame without waiting; its length, header not counted.
    pub fn poll(&mut self, into: &mut [u8; BUFFER]) -> Outcome<Option<usize>> {
        let Some(Used { head, len }) = ok!(self.receive.take()) else { return Ok(None) };
        let len = len as usize;
        check!((HEADER..=BUFFER).contains(&len), "a frame of {len} bytes with its header");
        let index = usize::from(self.receive_of[usize::from(head)]);
        let from = buffer(&self.shared.receive_buffers, index);
        // SAFETY: the device gave the buffer back; the length is within it.
        unsafe {
            core::ptr::copy_nonoverlapping(from.add(HEADER), into.as_mut_ptr(), len - HEADER);
        }
        self.hand_out(index);
        self.kick_receive()?;
        Ok(Some(len - HEADER))
    }

    /// Waits for a frame.
    pub fn receive(&mut self, into: &mut [u8; BUFFER]) -> Outcome<usize> {
        loop {
            if let Some(len) = self.poll(into)? {
                return Ok(len);
            }
            if !self.receive.arm() {
                let queue = &self.receive;
                wait("a frame", || queue.has_used())?;
            }
        }
    }
}
