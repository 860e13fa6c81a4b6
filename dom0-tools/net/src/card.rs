// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all threads of a card share, and what is said to them.

use crate::settings::Settings;
use crate::stats::Stats;
use hv_backend::Ring;
use hv_backend::throttle::{Limits, Throttle};
use hv_client::uring;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Direction of packets, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the guest.
    Send,
    /// To the guest.
    Receive,
}

/// See the module.
pub struct Card {
    /// What the daemon wants.
    pub settings: Settings,
    /// Counters of each pair.
    pub stats: Vec<Stats>,
    link: AtomicBool,
    limits: [Mutex<Throttle>; 2],
    limited: [AtomicBool; 2],
    start: Instant,
}

impl Card {
    /// A card that nobody serves yet.
    pub fn new(settings: Settings) -> Self {
        let stats = (0..settings.pairs).map(|_| Stats::default()).collect();
        let throttles = [settings.send, settings.receive].map(Throttle::new);
        let limited = [0, 1].map(|i: usize| AtomicBool::new(throttles[i].is_limited()));
        let link = AtomicBool::new(settings.link);
        let start = Instant::now();
        Self { settings, stats, link, limits: throttles.map(Mutex::new), limited, start }
    }

    /// Whether the link is up.
    pub fn link(&self) -> bool {
        self.link.load(Ordering::Relaxed)
    }

    /// Sets the link.
    pub fn set_link(&self, up: bool) {
        self.link.store(up, Ordering::Relaxed);
    }

    /// Sets the limits of one way.
    pub fn set_limits(&self, way: Way, limits: Limits) {
        let throttle = Throttle::new(limits);
        self.limited[way as usize].store(throttle.is_limited(), Ordering::Relaxed);
        *self.limits[way as usize].lock().unwrap_or_else(PoisonError::into_inner) = throttle;
    }

    /// Takes `bytes` from a limit, or says how long to wait first.
    pub fn take(&self, way: Way, bytes: u64) -> Option<Duration> {
        if !self.limited[way as usize].load(Ordering::Relaxed) {
            return None;
        }
        let mut limit = self.limits[way as usize].lock().unwrap_or_else(PoisonError::into_inner);
        limit.take(self.start.elapsed(), bytes)
    }
}

/// The queues of a pair.
pub struct Work {
    /// What the guest receives into.
    pub receive: Ring,
    /// What it sends.
    pub send: Ring,
    /// The control queue, with the first pair.
    pub control: Option<Ring>,
    /// Features agreed upon.
    pub features: u64,
    /// Whether packets for the guest come to this pair.
    pub active: bool,
}

/// What a pair's thread is told.
pub enum Order {
    /// Serve these.
    Serve(Box<Work>),
    /// Whether packets for the guest come to this pair.
    Active(bool),
    /// The link or a limit has changed.
    Look,
    /// Serve no more, and say when.
    Stop(SyncSender<()>),
}

/// Where a pair's thread gets its orders.
#[derive(Clone)]
pub struct Mailbox {
    /// Orders.
    pub orders: Sender<Order>,
    /// Rings while the thread waits for packets.
    pub bell: Arc<OwnedFd>,
}

impl Mailbox {
    /// Leaves an order. A thread that is gone has told why.
    pub fn put(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            let _ = uring::signal(&self.bell);
        }
    }
}
