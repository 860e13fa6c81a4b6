// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread of a pair of queues: it waits for the guest's kicks, for packets
//! and for orders, and lets both directions go on by turns.

use crate::card::{Card, Mailbox, Order, Work};
use crate::control;
use crate::receive::{Failure, Receive};
use crate::transmit::{Next, Transmit};
use hv_backend::{Report, Reporter};
use hv_client::tap::{Tap, offload};
use hv_io::net::feature;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// See the module.
pub struct Pair {
    /// Its number.
    pub index: usize,
    /// Its queue of the tap.
    pub tap: Tap,
    /// What it shares with others.
    pub card: Arc<Card>,
    /// Its own mailbox, and those of all pairs.
    pub mailboxes: Vec<Mailbox>,
    /// Its orders.
    pub orders: Receiver<Order>,
    /// The main thread.
    pub reporter: Reporter,
    /// Where the number of active pairs is kept.
    pub active: Arc<control::Active>,
}

/// Why serving ended.
enum End {
    /// As ordered; the sender waits to hear of it.
    Stopped(std::sync::mpsc::SyncSender<()>),
    /// The main thread has been told.
    Reported,
    /// Nobody gives orders any more.
    Over,
}

/// Offloads that a guest takes, as a tap calls them.
fn offloads(features: u64) -> u32 {
    let pairs = [
        (feature::GUEST_CSUM, offload::CSUM),
        (feature::GUEST_TSO4, offload::TSO4),
        (feature::GUEST_TSO6, offload::TSO6),
        (feature::GUEST_ECN, offload::TSO_ECN),
    ];
    let has = |(feature, _): &&(u64, u32)| features & feature != 0;
    match features & feature::GUEST_CSUM {
        // Segmentation is no use without checksums (5.1.3.1).
        0 => 0,
        _ => pairs.iter().filter(has).fold(0, |flags, (_, flag)| flags | flag),
    }
}

impl Pair {
    /// The thread.
    pub fn run(mut self) {
        while let Ok(order) = self.orders.recv() {
            match order {
                Order::Serve(work) => match self.serve(*work) {
                    // `serve` has dropped the queues: the memory is left alone.
                    End::Stopped(done) => drop(done.send(())),
                    End::Reported => {}
                    End::Over => return,
                },
                Order::Stop(done) => drop(done.send(())),
                Order::Active(_) | Order::Look => {}
            }
        }
    }

    fn serve(&mut self, mut work: Work) -> End {
        let mut transmit = Transmit::new(&self.card);
        let mut receive = Receive::new(&self.card, work.features);
        if let Err(e) = self.begin(&work) {
            self.reporter.send(Report::Broken(e.to_string()));
            return End::Reported;
        }
        // Whatever a predecessor left untold.
        let rings = [Some(&mut work.receive), Some(&mut work.send), work.control.as_mut()];
        for ring in rings.into_iter().flatten().filter(|ring| ring.is_resumed()) {
            ring.wake();
        }
        let mut next = [Next::Again; 2];
        loop {
            match self.take_orders(&mut work) {
                Ok(()) => {}
                Err(end) => return end,
            }
            let broken = |queue, fault| Report::Fault { queue, fault };
            let report = match self.turn(&mut work, &mut transmit, &mut receive, &mut next) {
                Ok(()) => continue,
                Err(Failure::Guest(fault)) => broken(2 * self.index, fault),
                Err(Failure::Tap(e)) => Report::Broken(format!("the tap fails: {e}")),
            };
            self.reporter.send(report);
            return End::Reported;
        }
    }

    /// Readies the tap for what the guest takes.
    fn begin(&self, work: &Work) -> Result<(), hv_client::Error> {
        if self.index == 0 {
            self.tap.set_offload(offloads(work.features))?;
        }
        if self.card.settings.pairs > 1 {
            // Attaching what is attached is refused, and of no harm.
            let _ = self.tap.attach(work.active);
        }
        Ok(())
    }

    fn take_orders(&self, work: &mut Work) -> Result<(), End> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Stop(done)) => return Err(End::Stopped(done)),
                Ok(Order::Active(active)) if active != work.active => {
                    work.active = active;
                    let _ = self.tap.attach(active);
                }
                Ok(Order::Serve(_)) | Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    return Err(End::Over);
                }
                Ok(Order::Active(_) | Order::Look) => {}
                Err(std::sync::mpsc::TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    /// Both directions once, then, if neither can go on, a rest.
    fn turn(
        &self,
        work: &mut Work,
        transmit: &mut Transmit,
        receive: &mut Receive,
        next: &mut [Next; 2],
    ) -> Result<(), Failure> {
        let stats = &self.card.stats[self.index];
        let (tap, card) = (&self.tap, &*self.card);
        if let Some(control) = &mut work.control {
            control::run(control, &self.mailboxes, &self.active)?;
        }
        next[0] = transmit.run(&mut work.send, work.features, tap, card, &stats.send)?;
        stats.send.interrupts.add(work.send.notify()?.into());
        next[1] = match work.active && card.link() {
            true => receive.run(&mut work.receive, tap, card, &stats.receive)?,
            false => {
                self.discard();
                Next::Source
            }
        };
        stats.receive.interrupts.add(work.receive.notify()?.into());
        if next.contains(&Next::Again) {
            return Ok(());
        }
        self.rest(work, *next).map_err(|e| Failure::Tap(e.into()))
    }

    /// Waits for what the directions wait for, and for orders.
    fn rest(&self, work: &Work, next: [Next; 2]) -> rustix::io::Result<()> {
        let input = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let stats = &self.card.stats[self.index];
        let bell = &self.mailboxes[self.index].bell;
        let mut fds = vec![input(bell.as_fd())];
        let mut ports = Vec::new();
        if let Some(control) = &work.control {
            ports.push((fds.len(), control.port()));
            fds.push(input(control.port().as_fd()));
        }
        if next[0] == Next::Source {
            ports.push((fds.len(), work.send.port()));
            fds.push(input(work.send.port().as_fd()));
        }
        if next[1] == Next::Buffers {
            ports.push((fds.len(), work.receive.port()));
            fds.push(input(work.receive.port().as_fd()));
        }
        if next[1] == Next::Source {
            fds.push(input(self.tap.as_fd()));
        }
        let waits = next.iter().filter_map(|next| match next {
            Next::Limit(wait) => Some(*wait),
            _ => None,
        });
        let timeout = waits.min().map(timespec);
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (place, port) in ports {
            if ready[place] {
                // It is readable, so this does not wait.
                port.take();
                stats.send.wakeups.add(1);
            }
        }
        if next[1] == Next::Source && ready[fds.len() - 1] {
            stats.receive.wakeups.add(1);
        }
        if ready[0] {
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
        }
        Ok(())
    }

    /// Packets for a link that is down are lost.
    fn discard(&self) {
        let mut packet = [0u8; 2048];
        for _ in 0..crate::transmit::BATCH {
            match rustix::io::read(&self.tap, &mut packet) {
                Ok(_) => self.card.stats[self.index].receive.dropped.add(1),
                Err(_) => return,
            }
        }
    }
}

fn timespec(wait: Duration) -> Timespec {
    // A little longer than asked, so that one wait is enough.
    let wait = wait + Duration::from_micros(50);
    Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() }
}
