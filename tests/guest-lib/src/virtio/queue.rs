// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's half of a split virtqueue (virtio 1.2, 2.7): a table of
//! descriptors, the ring of what is available and the ring of what was used.
//!
//! ```text
//! fn add(&mut self, parts: &[Part]) -> Option<u16>     a chain's head
//! fn publish(&mut self) -> bool                        the device wants a kick
//! fn take(&mut self) -> Option<Used>
//! ```
//!
//! The device is not trusted: what it says it used must be a head that is out.

use core::cell::UnsafeCell;
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicU16, Ordering, fence};

/// The largest queue.
pub const SIZE: usize = 256;

/// Descriptor flag: another follows.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// Flag of the used ring: do not kick (2.7.10).
const NO_NOTIFY: u16 = 1;

/// One descriptor (2.7.5).
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}
const _: () = assert!(size_of::<Descriptor>() == 16);

/// What is available (2.7.6).
#[repr(C, align(4096))]
struct Available {
    flags: u16,
    index: AtomicU16,
    ring: [u16; SIZE],
    used_event: AtomicU16,
}

/// What was used (2.7.8).
#[repr(C, align(4096))]
struct UsedRing {
    flags: u16,
    index: AtomicU16,
    ring: [[u32; 2]; SIZE],
    available_event: AtomicU16,
}

/// A queue's shared memory.
#[repr(C, align(4096))]
pub struct Memory {
    descriptors: UnsafeCell<[Descriptor; SIZE]>,
    available: UnsafeCell<Available>,
    used: UnsafeCell<UsedRing>,
}

// SAFETY: a `Queue` is the only one here that touches it, by volatile or atomic
// accesses; the device, outside, may do so at any time.
unsafe impl Sync for Memory {}

impl Memory {
    /// An empty queue's.
    pub const fn new() -> Self {
        Self {
            descriptors: UnsafeCell::new(
                [Descriptor { address: 0, len: 0, flags: 0, next: 0 }; SIZE],
            ),
            available: UnsafeCell::new(Available {
                flags: 0,
                index: AtomicU16::new(0),
                ring: [0; SIZE],
                used_event: AtomicU16::new(0),
            }),
            used: UnsafeCell::new(UsedRing {
                flags: 0,
                index: AtomicU16::new(0),
                ring: [[0; 2]; SIZE],
                available_event: AtomicU16::new(0),
            }),
        }
    }

    /// Addresses of descriptors, available and used ring.
    pub fn addresses(&self) -> [u64; 3] {
        [self.descriptors.get() as u64, self.available.get() as u64, self.used.get() as u64]
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// A piece of a request.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// The device writes to it.
    pub write: bool,
}

/// What the device says it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The chain's head.
    pub head: u16,
    /// Bytes written.
    pub len: u32,
}

/// The device broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It used a head that is not out.
    Head(u32),
    /// It used more than is out.
    Index(u16),
}

/// See the module.
pub struct Queue {
    memory: &'static Memory,
    size: u16,
    event_index: bool,
    free: u16,
    first_free: u16,
    /// Length of the chain that each head begins; 0 when it is not out.
    out: [u16; SIZE],
    out_count: u16,
    next: u16,
    published: u16,
    seen: u16,
}

impl Queue {
    /// A queue of `size` entries, a power of two, which nobody uses yet.
    pub fn new(memory: &'static Memory, size: u16, event_index: bool) -> Self {
        assert!(size.is_power_of_two() && usize::from(size) <= SIZE);
        // SAFETY: the device does not know the memory yet.
        unsafe {
            let table = memory.descriptors.get().cast::<Descriptor>();
            for i in 0..size {
                let next = (i + 1) % size;
                let empty = Descriptor { address: 0, len: 0, flags: 0, next };
                table.add(usize::from(i)).write_volatile(empty);
            }
            (*memory.available.get()).index.store(0, Ordering::Relaxed);
            (*memory.used.get()).index.store(0, Ordering::Relaxed);
        }
        let queue = Self {
            memory,
            size,
            event_index,
            free: size,
            first_free: 0,
            out: [0; SIZE],
            out_count: 0,
            next: 0,
            published: 0,
            seen: 0,
        };
        for device in [false, true] {
            // SAFETY: an aligned word within this queue's memory.
            unsafe { (*queue.event_word(device)).store(0, Ordering::Relaxed) };
        }
        queue
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that are free.
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Chains that are out.
    pub fn out(&self) -> u16 {
        self.out_count
    }

    /// Addresses of the three parts, with the size, for the device page.
    pub fn addresses(&self) -> ([u64; 3], u16) {
        (self.memory.addresses(), self.size)
    }

    fn descriptor(&self, index: u16) -> *mut Descriptor {
        // SAFETY: within the table: every index here is below `size`.
        unsafe { self.memory.descriptors.get().cast::<Descriptor>().add(usize::from(index)) }
    }

    /// Puts a chain into the ring; it is seen by the device after `publish`.
    pub fn add(&mut self, parts: &[Part]) -> Option<u16> {
        let count = u16::try_from(parts.len()).ok()?;
        if count == 0 || count > self.free {
            return None;
        }
        let head = self.first_free;
        let mut index = head;
        for (i, part) in (1..).zip(parts) {
            let slot = self.descriptor(index);
            // SAFETY: a free descriptor is this side's.
            let next = unsafe { addr_of!((*slot).next).read_volatile() };
            let flags = if part.write { WRITE } else { 0 } | if i < count { NEXT } else { 0 };
            let full = Descriptor { address: part.address, len: part.len, flags, next };
            // SAFETY: as above.
            unsafe { slot.write_volatile(full) };
            index = next;
        }
        self.first_free = index;
        self.free -= count;
        self.out[usize::from(head)] = count;
        self.out_count += 1;
        let place = usize::from(self.next % self.size);
        // SAFETY: within the ring; the device reads it only once published.
        unsafe {
            let ring = addr_of_mut!((*self.memory.available.get()).ring).cast::<u16>();
            ring.add(place).write_volatile(head);
        }
        self.next = self.next.wrapping_add(1);
        Some(head)
    }

    /// Shows the device what was added; whether it wants to be kicked (2.7.10).
    pub fn publish(&mut self) -> bool {
        let old = self.published;
        self.published = self.next;
        // SAFETY: atomics and a volatile read of shared memory.
        let (flags, event) = unsafe {
            (*self.memory.available.get()).index.store(self.next, Ordering::Release);
            fence(Ordering::SeqCst);
            let used = self.memory.used.get();
            let flags = addr_of!((*used).flags).read_volatile();
            // The event's place follows the ring of this queue's size.
            (flags, (*self.event_word(true)).load(Ordering::Acquire))
        };
        if old == self.next {
            return false;
        }
        match self.event_index {
            true => self.next.wrapping_sub(event).wrapping_sub(1) < self.next.wrapping_sub(old),
            false => flags & NO_NOTIFY == 0,
        }
    }

    /// The word behind a ring: the device's `avail_event` or our `used_event`.
    fn event_word(&self, device: bool) -> *const AtomicU16 {
        let [_, available, used] = self.memory.addresses();
        let size = u64::from(self.size);
        match device {
            true => (used + 4 + 8 * size) as *const AtomicU16,
            false => (available + 4 + 2 * size) as *const AtomicU16,
        }
    }

    /// Asks for an event at the next use; whether something was used meanwhile.
    pub fn arm(&self) -> bool {
        // SAFETY: an aligned word within this queue's memory.
        unsafe { (*self.event_word(false)).store(self.seen, Ordering::Release) };
        fence(Ordering::SeqCst);
        self.used_index() != self.seen
    }

    fn used_index(&self) -> u16 {
        // SAFETY: an atomic of shared memory.
        unsafe { (*self.memory.used.get()).index.load(Ordering::Acquire) }
    }

    /// Whether there is something to take.
    pub fn has_used(&self) -> bool {
        self.used_index() != self.seen
    }

    /// Takes the next chain that the device has used.
    pub fn take(&mut self) -> Result<Option<Used>, Broken> {
        let ready = self.used_index().wrapping_sub(self.seen);
        if ready == 0 {
            return Ok(None);
        }
        if ready > self.out_count {
            return Err(Broken::Index(ready));
        }
        let place = usize::from(self.seen % self.size);
        // SAFETY: within the ring; read once, then looked at.
        let [head, len] = unsafe {
            addr_of!((*self.memory.used.get()).ring).cast::<[u32; 2]>().add(place).read_volatile()
        };
        self.seen = self.seen.wrapping_add(1);
        if head >= u32::from(self.size) || self.out[head as usize] == 0 {
            return Err(Broken::Head(head));
        }
        let head = head as u16;
        self.give_back(head);
        Ok(Some(Used { head, len }))
    }

    /// Links a chain's descriptors before the free ones.
    fn give_back(&mut self, head: u16) {
        let count = core::mem::take(&mut self.out[usize::from(head)]);
        let mut last = head;
        for _ in 1..count {
            // SAFETY: the device reads descriptors and writes none; `next` was
            // set by `new` to an index below `size` and never changed but here.
            last = unsafe { addr_of!((*self.descriptor(last)).next).read_volatile() } % self.size;
        }
        // SAFETY: the chain is this side's again.
        unsafe { addr_of_mut!((*self.descriptor(last)).next).write_volatile(self.first_free) };
        self.first_free = head;
        self.free += count;
        self.out_count -= 1;
    }
}
