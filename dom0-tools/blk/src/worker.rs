// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue's thread: takes requests, submits them to io_uring, completes them.
//!
//! It sleeps in one place, [`Engine::wait`], for whatever comes first: a kick of
//! the guest, the end of an operation, an order of the main thread, the end of
//! a throttled request's wait. A request is an [`Entry`] of a table from when it
//! is taken until it is finished; its index is the token of its operation.
//!
//! Length: the loop, the queue it serves and the life of a
//! request are one state machine, whose parts make no sense apart.

mod entry;

use crate::image::Image;
use crate::request::{self, Limits, Request, Work};
use crate::settings::{OnError, Settings};
use entry::{Answer, Entry, Next};
use hv_backend::ring::{Chain, Ring};
use hv_backend::stats::Counter;
use hv_backend::throttle::Throttle;
use hv_backend::{Report, Reporter};
use hv_client::GuestMemory;
use hv_client::uring::{Done, Engine, Range};
use hv_io::Fault;
use hv_io::blk::{self, Shape, status};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens that are no index.
const KICK: u64 = u64::MAX - 1;
const ORDER: u64 = u64::MAX - 2;
const TIMER: u64 = u64::MAX - 3;
const TURN: u64 = u64::MAX - 4;

/// Requests taken before others get their turn.
const BUDGET: usize = 256;

/// Submissions that wait to be submitted at once.
const SUBMISSIONS: u32 = 128;

/// An order of the main thread.
pub enum Order {
    /// Serve this queue.
    Start(Box<Ring>, u64),
    /// Let go of the queue, and say so.
    Stop(Sender<()>),
    /// Try again what was held back.
    Resume,
    /// Limits have changed.
    Look,
}

/// Counters of one queue.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is its name")]
pub struct Counters {
    pub reads: Counter,
    pub read_bytes: Counter,
    pub writes: Counter,
    pub write_bytes: Counter,
    pub flushes: Counter,
    pub discards: Counter,
    pub write_zeroes: Counter,
    pub errors: Counter,
    pub refused: Counter,
    pub throttled: Counter,
    pub buffered: Counter,
    pub kicks: Counter,
    pub interrupts: Counter,
}

/// What the queues of a disk share.
pub struct Shared {
    /// The file.
    pub image: Image,
    /// As the daemon gave them.
    pub settings: Settings,
    /// Size in bytes, as the guest was told.
    pub capacity: AtomicU64,
    /// Limits of reads and of writes.
    pub throttles: Mutex<[Throttle; 2]>,
    /// The clock of the throttles.
    pub began: Instant,
    /// For the main thread.
    pub reporter: Reporter,
}

impl Shared {
    fn limits(&self, features: u64) -> Limits {
        let capacity = self.capacity.load(Ordering::Relaxed);
        let read_only = if self.settings.read_only { blk::feature::RO } else { 0 };
        let shape = Shape { capacity, block: self.settings.block_size };
        Limits { features: features | read_only, shape }
    }

    /// Pays for a transfer, or says how long it has to wait.
    fn must_wait(&self, write: bool, bytes: u64) -> Option<Duration> {
        let mut throttles = self.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        throttles[usize::from(write)].take(self.began.elapsed(), bytes)
    }
}

/// See the module.
pub struct Worker {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    orders: Receiver<Order>,
    signal: Arc<OwnedFd>,
    engine: Engine,
    index: usize,
    served: Option<Served>,
    /// What a guest did wrong, found while completing.
    fault: Option<Fault>,
    /// Whether a wait for an eventfd or for the timer is with the kernel.
    armed: Armed,
}

#[derive(Default)]
struct Armed {
    order: bool,
    kick: bool,
    timer: bool,
}

/// A queue that is being served.
struct Served {
    ring: Ring,
    kick: Arc<OwnedFd>,
    features: u64,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    /// Requests that wait for their turn, in order.
    throttled: VecDeque<usize>,
    /// Requests that failed and are to be tried again.
    held: Vec<usize>,
    /// The guest was asked to kick, and may not have anything for us.
    idle: bool,
}

impl Worker {
    /// To be called on the thread that [`Worker::run`] runs on.
    pub fn new(
        shared: Arc<Shared>,
        counters: Arc<Counters>,
        orders: Receiver<Order>,
        signal: Arc<OwnedFd>,
        memory: GuestMemory,
        index: usize,
    ) -> Result<Self, hv_client::Error> {
        let engine = Engine::new(memory, SUBMISSIONS)?;
        let (served, fault, armed) = (None, None, Armed::default());
        Ok(Self { shared, counters, orders, signal, engine, index, served, fault, armed })
    }

    /// Serves until the main thread is gone.
    pub fn run(mut self) {
        let mut done = Vec::new();
        loop {
            if let Err(e) = self.step(&mut done) {
                let why = format!("queue {}: io_uring: {e}", self.index);
                return self.shared.reporter.send(Report::Broken(why));
            }
            let mut gone = false;
            for done in done.drain(..) {
                match done.token {
                    ORDER => {
                        self.armed.order = false;
                        gone |= !self.obey();
                    }
                    KICK => {
                        self.armed.kick = false;
                        self.counters.kicks.add(1);
                        if let Some(served) = &mut self.served {
                            served.idle = false;
                        }
                    }
                    TIMER => self.armed.timer = false,
                    TURN => {}
                    _ => self.ended(done),
                }
            }
            if gone {
                return;
            }
        }
    }

    /// Takes and submits what there is, then sleeps.
    fn step(&mut self, done: &mut Vec<Done>) -> std::io::Result<()> {
        if !self.armed.order {
            self.engine.watch(&self.signal, ORDER)?;
            self.armed.order = true;
        }
        if let Err(fault) = self.serve() {
            self.let_go();
            self.shared.reporter.send(Report::Fault { queue: self.index, fault });
            // An order may have come meanwhile, and its signal have been taken by
            // what was cancelled: look at once.
            if !self.armed.order {
                self.engine.nop(ORDER)?;
                self.armed.order = true;
            }
        }
        if let Some(served) = &self.served
            && !self.armed.kick
        {
            self.engine.watch(&served.kick, KICK)?;
            self.armed.kick = true;
        }
        if self.served.as_ref().is_some_and(Served::takes) {
            // The budget was used up: come back at once.
            self.engine.nop(TURN)?;
        }
        self.engine.wait(done)
    }

    /// Acts upon orders; `false` if none can come any more.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Start(ring, features)) => self.start(*ring, features),
                Ok(Order::Stop(ack)) => {
                    self.let_go();
                    let _ = ack.send(());
                }
                Ok(Order::Resume) => self.resume(),
                Ok(Order::Look) => {}
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    self.let_go();
                    return false;
                }
            }
        }
    }

    fn start(&mut self, mut ring: Ring, features: u64) {
        let Ok(kick) = ring.port().as_fd().try_clone_to_owned() else {
            let why = format!("queue {}: no descriptor is left", self.index);
            return self.shared.reporter.send(Report::Broken(why));
        };
        // After a restart the guest may wait for what its ring has already.
        ring.wake();
        self.served = Some(Served {
            ring,
            kick: Arc::new(kick),
            features,
            entries: Vec::new(),
            free: Vec::new(),
            throttled: VecDeque::new(),
            held: Vec::new(),
            idle: false,
        });
    }

    /// Lets go of the queue: when this returns, nothing of it is with the kernel.
    fn let_go(&mut self) {
        if self.served.is_none() {
            return;
        }
        // What is cancelled was not acknowledged to the guest.
        if let Err(e) = self.engine.drain() {
            let why = format!("queue {}: requests cannot be ended: {e}", self.index);
            self.shared.reporter.send(Report::Broken(why));
        }
        (self.served, self.fault, self.armed) = (None, None, Armed::default());
    }

    fn resume(&mut self) {
        let held = match &mut self.served {
            Some(served) => std::mem::take(&mut served.held),
            None => return,
        };
        self.shared.reporter.send(Report::Held { queue: self.index, reason: None });
        for slot in held {
            self.submit(slot);
        }
        if let Some(served) = &mut self.served {
            served.idle = false;
        }
    }

    /// Takes requests while there are any; tells the guest of those that ended.
    /// At most [`BUDGET`], so that orders get their turn.
    fn serve(&mut self) -> Result<(), Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        for _ in 0..BUDGET {
            match self.next_chain()? {
                Some(chain) => self.take(chain)?,
                None => break,
            }
        }
        // Behind the loop: what it has throttled needs the timer.
        self.release_throttled();
        if let Some(served) = &mut self.served
            && served.ring.notify()?
        {
            self.counters.interrupts.add(1);
        }
        Ok(())
    }

    fn next_chain(&mut self) -> Result<Option<Chain>, Fault> {
        let Some(served) = &mut self.served else { return Ok(None) };
        while served.takes() {
            if let Some(chain) = served.ring.pop()? {
                return Ok(Some(chain));
            }
            served.idle = !served.ring.listen()?;
        }
        Ok(None)
    }

    fn take(&mut self, chain: Chain) -> Result<(), Fault> {
        let Some(served) = &mut self.served else { return Ok(()) };
        let limits = self.shared.limits(served.features);
        let ring = &served.ring;
        let request =
            request::parse(chain, limits, |ranges, skip, into| ring.copy_out(ranges, skip, into))?;
        let Request { head, status, written, work } = request;
        let answer = Answer { head, status, written };
        let work = match work {
            Ok(work) => work,
            Err(refusal) => {
                self.counters.refused.add(1);
                return served.complete(&answer, refusal.status());
            }
        };
        if let Work::Identify(ranges) = &work {
            let mut serial = [0; blk::ID_LEN];
            let text = self.shared.settings.serial.as_bytes();
            let len = text.len().min(serial.len());
            serial[..len].copy_from_slice(&text[..len]);
            served.ring.copy_in(ranges, 0, &serial)?;
            return served.complete(&answer, status::OK);
        }
        self.count(&work);
        let slot = match &mut self.served {
            Some(served) => served.insert(Entry::new(answer, work)),
            None => return Ok(()),
        };
        self.go_on(slot);
        Ok(())
    }

    fn count(&self, work: &Work) {
        let counters = &self.counters;
        match work {
            Work::Transfer { write: false, left, .. } => {
                counters.reads.add(1);
                counters.read_bytes.add(*left);
            }
            Work::Transfer { left, .. } => {
                counters.writes.add(1);
                counters.write_bytes.add(*left);
            }
            Work::Flush => counters.flushes.add(1),
            Work::Holes { zeroes: true, .. } => counters.write_zeroes.add(1),
            Work::Holes { .. } => counters.discards.add(1),
            Work::Identify(_) => {}
        }
    }

    /// Submits what is next of a request, unless it must wait for its turn.
    fn go_on(&mut self, slot: usize) {
        let Some(served) = &mut self.served else { return };
        let Some(entry) = served.entries.get_mut(slot).and_then(Option::as_mut) else { return };
        if let Some((write, bytes)) = entry.unpaid() {
            // What came first goes first.
            if !served.throttled.is_empty() || self.shared.must_wait(write, bytes).is_some() {
                served.throttled.push_back(slot);
                self.counters.throttled.add(1);
                return;
            }
            entry.pay();
        }
        self.submit(slot);
    }

    fn submit(&mut self, slot: usize) {
        let Some(served) = &mut self.served else { return };
        let Some(entry) = served.entries.get_mut(slot).and_then(Option::as_mut) else { return };
        let next = match entry.submit(&mut self.engine, &self.shared.image, slot as u64) {
            Ok(Some(status)) => Next::Done(status),
            Ok(None) => {
                if entry.is_buffered() {
                    self.counters.buffered.add(1);
                }
                return;
            }
            Err(e) => Next::Failed(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        };
        self.after(slot, next);
    }

    /// An operation ended.
    fn ended(&mut self, done: Done) {
        let slot = done.token as usize;
        let entry = self.served.as_mut().and_then(|s| s.entries.get_mut(slot)?.as_mut());
        if let Some(entry) = entry {
            let next = entry.ended(done.result, &self.shared.image);
            self.after(slot, next);
        }
    }

    fn after(&mut self, slot: usize, next: Next) {
        match next {
            Next::Again => self.submit(slot),
            Next::Done(status) => self.finish(slot, status),
            Next::Failed(errno) => self.failed(slot, errno),
        }
    }

    fn failed(&mut self, slot: usize, errno: Errno) {
        self.counters.errors.add(1);
        if self.shared.settings.on_io_error == OnError::Report {
            return self.finish(slot, status::IOERR);
        }
        let Some(served) = &mut self.served else { return };
        served.held.push(slot);
        let path = self.shared.settings.path.display();
        let why = match errno {
            Errno::NOSPC | Errno::DQUOT => format!("no space is left for {path}"),
            _ => format!("{path}: {}", std::io::Error::from(errno)),
        };
        self.shared.reporter.send(Report::Held { queue: self.index, reason: Some(why) });
    }

    fn finish(&mut self, slot: usize, status: u8) {
        let Some(served) = &mut self.served else { return };
        let Some(entry) = served.entries.get_mut(slot).and_then(Option::take) else { return };
        served.free.push(slot);
        if let Err(fault) = served.complete(&entry.answer, status) {
            self.fault = Some(fault);
        }
    }

    /// Submits throttled requests whose time has come; sets the timer for the
    /// next.
    fn release_throttled(&mut self) {
        while let Some((slot, write, bytes)) =
            self.served.as_ref().and_then(Served::first_throttled)
        {
            if let Some(wait) = self.shared.must_wait(write, bytes) {
                if !self.armed.timer {
                    self.armed.timer = self.engine.timeout(wait, TIMER).is_ok();
                }
                return;
            }
            if let Some(served) = &mut self.served {
                served.throttled.pop_front();
                if let Some(entry) = served.entries.get_mut(slot).and_then(Option::as_mut) {
                    entry.pay();
                }
            }
            self.submit(slot);
        }
    }
}

impl Served {
    /// Whether a request may be taken now.
    fn takes(&self) -> bool {
        !self.idle && self.held.is_empty()
    }

    fn insert(&mut self, entry: Entry) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[slot] = Some(entry);
        slot
    }

    fn complete(&mut self, answer: &Answer, status: u8) -> Result<(), Fault> {
        let written = if status == blk::status::OK { answer.written } else { 1 };
        let place = Range { gpa: answer.status, len: 1 };
        self.ring.copy_in(&[place], 0, &[status])?;
        self.ring.finish(answer.head, written)
    }

    fn first_throttled(&self) -> Option<(usize, bool, u64)> {
        let slot = *self.throttled.front()?;
        let (write, bytes) = self.entries.get(slot)?.as_ref()?.unpaid()?;
        Some((slot, write, bytes))
    }
}
