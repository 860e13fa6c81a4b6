// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small backend for a child's device, in the runner: handshake and the
//! device's half of split virtqueues (virtio 1.2, 2.7) over the child's memory,
//! so that drivers and transport are tried without Linux.
//!
//! It looks at a queue only after that queue's port was raised, so a driver
//! that kicks too seldom is found out: its request is never answered. The
//! real backends' rules hold: a word is read once, then checked, then used.
//!
//! Length: one backend, from handshake to used ring, as a test can read it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use hv_abi::Hypercall as H;
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check, cpu, error, event, failure, ok};
use hv_io::slot::{self, DeviceHead, DriverHead, QueueOffer, QueueSetup, offset};
use hv_io::{feature, status};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::child::{Child, PATIENCE};

/// Queues of a device here.
pub const QUEUES: usize = 2;
/// Parts of a chain.
const PARTS: usize = 4;
/// Descriptor flags (2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A piece of a request, where the runner sees it.
#[derive(Clone, Copy, Default)]
pub struct Part {
    /// Its address here.
    pub here: u64,
    /// Bytes.
    pub len: usize,
    /// We may write to it.
    pub write: bool,
}

/// A request.
#[derive(Clone, Copy, Default)]
pub struct Chain {
    head: u16,
    parts: [Part; PARTS],
    count: usize,
}

impl Chain {
    /// Its pieces.
    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }
}

impl Part {
    /// Copies out.
    pub fn read(&self, into: &mut [u8]) {
        let len = into.len().min(self.len);
        // SAFETY: `Backend::part` checked that the range is open foreign
        // memory, to which no reference is.
        unsafe { core::ptr::copy_nonoverlapping(self.here as *const u8, into.as_mut_ptr(), len) };
    }

    /// Copies in.
    pub fn write(&self, from: &[u8]) {
        let len = from.len().min(self.len);
        // SAFETY: as `read`.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), self.here as *mut u8, len) };
    }
}

#[derive(Clone, Copy, Default)]
struct Ring {
    setup: QueueSetup,
    ours: u64,
    kicks: u32,
    next: u16,
    used: u16,
    live: bool,
}

/// A device of a child.
pub struct Backend<'a> {
    child: &'a Child,
    page: u64,
    config_port: u64,
    offered: u64,
    features: u64,
    seq: u32,
    rings: [Ring; QUEUES],
    /// Requests done.
    pub done: u64,
}

impl<'a> Backend<'a> {
    /// Puts a device with `config` into the page at the child's address `page`.
    pub fn new(
        child: &'a Child,
        page: u64,
        id: u32,
        features: u64,
        config: &[u8],
    ) -> Outcome<Self> {
        let mut backend = Self {
            child,
            page: child.at(page)?,
            config_port: 0,
            offered: features | feature::VERSION_1,
            features: 0,
            seq: 0,
            rings: [Ring::default(); QUEUES],
            done: 0,
        };
        let (config_port, theirs) = backend.port()?;
        backend.config_port = config_port;
        let mut head = DeviceHead {
            version: slot::VERSION,
            device_id: id,
            vendor_id: slot::VENDOR,
            incarnation: 1,
            state: slot::state::PRESENT,
            features_lo: backend.offered,
            queues: QUEUES as u32,
            config_len: config.len() as u32,
            config_port: theirs,
            ..DeviceHead::default()
        };
        for index in 0..QUEUES {
            let (ours, port) = backend.port()?;
            backend.rings[index].ours = ours;
            let at = offset::OFFERS + index * size_of::<QueueOffer>();
            backend.put(at, &QueueOffer { port, max_size: 128, reserved: 0 });
        }
        backend.put_bytes(offset::CONFIG, config);
        backend.put(offset::DEVICE, &head);
        head.magic = slot::MAGIC;
        fence(Ordering::SeqCst);
        backend.put(offset::MAGIC, &head.magic);
        Ok(backend)
    }

    /// A port of the child's joined with ours: ours, theirs.
    fn port(&self) -> Outcome<(u64, u32)> {
        let theirs = ok!(call(H::EventAlloc { owner: self.child.id, remote: 0 }));
        let ours = ok!(call(H::EventBind { remote: self.child.id, remote_port: theirs }));
        Ok((ours, theirs as u32))
    }

    /// Closes the ports; the page is the child's.
    pub fn close(self) -> Outcome {
        ok!(call(H::EventClose { port: self.config_port }));
        for ring in &self.rings {
            ok!(call(H::EventClose { port: ring.ours }));
        }
        Ok(())
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: within the child's device page, which is open as long as the
        // child lives; both sides use atomics.
        unsafe { &*((self.page + offset as u64) as *const AtomicU32) }
    }

    fn put_bytes(&self, at: usize, bytes: &[u8]) {
        Part { here: self.page + at as u64, len: bytes.len(), write: true }.write(bytes);
    }

    fn put<T: IntoBytes + Immutable>(&self, at: usize, value: &T) {
        self.put_bytes(at, value.as_bytes());
    }

    fn get<T: FromBytes + IntoBytes>(&self, at: usize) -> T {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        Part { here: self.page + at as u64, len: bytes.len(), write: false }.read(bytes);
        value
    }

    /// A range of the child's memory, where we see it.
    fn part(&self, at: u64, len: u32, write: bool) -> Outcome<Part> {
        let here = self.child.at(at)?;
        let last = u64::from(len.max(1)) - 1;
        check!(self.child.at(at + last)? == here + last, "a buffer is in two pieces");
        Ok(Part { here, len: len as usize, write })
    }

    /// Answers the driver's latest request, if there is one.
    pub fn handshake(&mut self) -> Outcome {
        let seq = self.word(offset::DRV_SEQ).load(Ordering::Acquire);
        if seq == self.seq {
            return Ok(());
        }
        self.seq = seq;
        let driver: DriverHead = self.get(offset::DRIVER);
        let mut accepted = driver.status;
        if driver.status == 0 {
            self.rings.iter_mut().for_each(|ring| ring.live = false);
        } else if accepted & status::FEATURES_OK != 0 {
            match slot::check_features(&driver, self.offered) {
                Ok(features) => self.features = features,
                Err(_) => accepted &= !status::FEATURES_OK,
            }
        }
        if accepted & status::DRIVER_OK != 0 {
            self.start()?;
        }
        self.put(offset::STATUS, &accepted);
        self.word(offset::HOST_SEQ).store(seq, Ordering::Release);
        ok!(call(H::EventSend { port: self.config_port }));
        Ok(())
    }

    fn start(&mut self) -> Outcome {
        for index in 0..QUEUES {
            let at = offset::SETUPS + index * size_of::<QueueSetup>();
            let setup: QueueSetup = self.get(at);
            let queue = ok!(slot::check_queue(&setup, 128));
            let ring = &mut self.rings[index];
            (ring.setup, ring.next, ring.used) = (setup, 0, 0);
            ring.live = queue.is_some();
            // What was kicked before is looked at once as well.
            ring.kicks = event::seen(ring.ours).wrapping_sub(1);
        }
        Ok(())
    }

    /// A 16-bit word of a ring.
    fn short(&self, at: u64) -> Outcome<&AtomicU16> {
        let here = self.part(at, 2, true)?.here;
        // SAFETY: an aligned word of open foreign memory.
        Ok(unsafe { &*(here as *const AtomicU16) })
    }

    /// The next request of queue `index`.
    pub fn next(&mut self, index: usize) -> Outcome<Option<Chain>> {
        let ring = self.rings[index];
        if !ring.live {
            return Ok(None);
        }
        let QueueSetup { desc, driver, size, .. } = ring.setup;
        let waiting = self.short(driver + 2)?.load(Ordering::Acquire).wrapping_sub(ring.next);
        check!(waiting <= size, "the driver made {waiting} requests");
        if waiting == 0 {
            return Ok(None);
        }
        let place = u64::from(ring.next % size);
        let head = self.short(driver + 4 + 2 * place)?.load(Ordering::Relaxed);
        let mut chain = Chain { head, ..Chain::default() };
        let mut at = head;
        loop {
            check!(at < size && chain.count < PARTS, "a chain at {at} of {}", chain.count);
            let mut raw = [0u8; 16];
            self.part(desc + 16 * u64::from(at), 16, false)?.read(&mut raw);
            let (address, rest) = raw.split_at(8);
            let address = u64::from_le_bytes(address.try_into().unwrap_or_default());
            let len = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let flags = u16::from_le_bytes([rest[4], rest[5]]);
            chain.parts[chain.count] = self.part(address, len, flags & WRITE != 0)?;
            chain.count += 1;
            if flags & NEXT == 0 {
                break;
            }
            at = u16::from_le_bytes([rest[6], rest[7]]);
        }
        self.rings[index].next = ring.next.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Gives a request back; the driver is raised if it wants that.
    pub fn finish(&mut self, index: usize, chain: Chain, len: u32) -> Outcome {
        self.forge(index, u32::from(chain.head), len)
    }

    /// The same with any head: for drivers that must not believe it.
    pub fn forge(&mut self, index: usize, head: u32, len: u32) -> Outcome {
        let ring = self.rings[index];
        let QueueSetup { driver, device, size, .. } = ring.setup;
        let place = u64::from(ring.used % size);
        let entry = self.part(device + 4 + 8 * place, 8, true)?;
        entry.write([head, len].as_bytes());
        let (old, new) = (ring.used, ring.used.wrapping_add(1));
        self.rings[index].used = new;
        self.done += 1;
        self.short(device + 2)?.store(new, Ordering::Release);
        fence(Ordering::SeqCst);
        let wanted = match self.features & feature::RING_EVENT_IDX {
            0 => self.short(driver)?.load(Ordering::Acquire) & 1 == 0,
            _ => self.short(driver + 4 + 2 * u64::from(size))?.load(Ordering::Acquire) == old,
        };
        if wanted {
            ok!(call(H::EventSend { port: ring.ours }));
        }
        Ok(())
    }

    /// Whether queue `index` was kicked since this was asked last.
    fn kicked(&mut self, index: usize) -> bool {
        let ring = &mut self.rings[index];
        let seen = event::seen(ring.ours);
        let kicked = seen != ring.kicks;
        ring.kicks = seen;
        kicked && ring.live
    }

    /// Asks for a kick at the next request; whether one came meanwhile.
    fn arm(&self, index: usize) -> Outcome<bool> {
        let ring = self.rings[index];
        let QueueSetup { driver, device, size, .. } = ring.setup;
        let event = self.short(device + 4 + 8 * u64::from(size))?;
        event.store(ring.next, Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(self.short(driver + 2)?.load(Ordering::Acquire) != ring.next)
    }

    /// Lets the used index run ahead: answers that were never given.
    pub fn skip(&mut self, index: usize, count: u16) {
        let used = &mut self.rings[index].used;
        *used = used.wrapping_add(count);
    }

    /// Takes a queue's requests, if it was kicked, until it is empty.
    pub fn look_at(
        &mut self,
        index: usize,
        handle: &mut dyn FnMut(&mut Self, Chain) -> Outcome,
    ) -> Outcome {
        if !self.kicked(index) {
            return Ok(());
        }
        loop {
            while let Some(chain) = self.next(index)? {
                handle(self, chain)?;
            }
            if !self.arm(index)? {
                return Ok(());
            }
        }
    }

    /// One look: handshake, then each queue.
    pub fn look(&mut self, handle: &mut dyn FnMut(&mut Self, usize, Chain) -> Outcome) -> Outcome {
        self.handshake()?;
        (0..QUEUES).try_for_each(|index| {
            self.look_at(index, &mut |backend, chain| handle(backend, index, chain))
        })
    }
}

/// Calls `look` until all `children` have stopped, with interrupts let in.
pub fn serve(children: &[&Child], mut look: impl FnMut() -> Outcome) -> Outcome {
    let end = cpu::tsc() + PATIENCE * cpu::khz();
    loop {
        cpu::let_in();
        look()?;
        let mut stopped = 0;
        for child in children {
            let info = child.info()?;
            stopped += usize::from(info.state & hv_abi::domain::state::SHUTDOWN != 0);
        }
        if stopped == children.len() {
            return Ok(());
        }
        if cpu::tsc() > end {
            return Err(failure!("the children did not end"));
        }
        let _ = call(H::SchedYield {});
    }
}

/// What a test of the runner keeps besides its small stack.
#[repr(transparent)]
pub struct Kept<T>(UnsafeCell<T>);

// SAFETY: the runner has one vCPU, and `with` says that it is not nested.
unsafe impl<T> Sync for Kept<T> {}

impl<T> Kept<T> {
    /// With a first value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Lends it.
    ///
    /// # Safety
    /// No other `with` of the same value is under way.
    pub unsafe fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the caller's.
        f(unsafe { &mut *self.0.get() })
    }
}

/// A disk in the runner's memory.
pub struct Disk<'a>(pub &'a mut [u8]);

impl Disk<'_> {
    /// Does a request and gives it back.
    pub fn handle(&mut self, backend: &mut Backend<'_>, queue: usize, chain: Chain) -> Outcome {
        use hv_io::blk::{Header, request, status};
        let [first, middle @ .., last] = chain.parts() else {
            return Err(error!("a request of {} parts", chain.parts().len()));
        };
        let mut header = Header::default();
        first.read(header.as_mut_bytes());
        let start = header.sector as usize * 512;
        let data = middle.first().copied().unwrap_or_default();
        let range = self.0.get_mut(start..start.saturating_add(data.len));
        let (answer, written) = match (header.kind, range) {
            (request::IN, Some(bytes)) => {
                data.write(bytes);
                (status::OK, data.len)
            }
            (request::OUT, Some(bytes)) => {
                data.read(bytes);
                (status::OK, 0)
            }
            (request::FLUSH, _) => (status::OK, 0),
            (request::GET_ID, _) => {
                data.write(b"micro-guest\0");
                (status::OK, data.len)
            }
            (request::IN | request::OUT, None) => (status::IOERR, 0),
            _ => (status::UNSUPP, 0),
        };
        last.write(&[answer]);
        backend.finish(queue, chain, written as u32 + 1)
    }
}
