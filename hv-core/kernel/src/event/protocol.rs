// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a port and its word, step by step: the part of events in
//! which CPUs and guests race. It is written over three small traits, so that
//! `loom_tests` drives this very code through all interleavings.
//!
//! The rules that make it lossless:
//! - A port's join, target and the decision to put it into a ring are made
//!   under the port's lock. No code holds two of them.
//! - Who changes LINKED from 0 to 1 appends the port, once, after the lock.
//! - Who finds no ring to append to leaves the port pending; who brings the
//!   ring, the vector or a new target looks again, by a read-modify-write of
//!   the word: either it sees PENDING, or who sets PENDING later sees the ring.

use core::sync::atomic::{AtomicU32, Ordering};
use hv_abi::event::{LINKED, MASKED, PENDING, PRIORITY_NORMAL};
use hv_abi::{DomainId, Status};
use spin::Mutex;

/// What a port is joined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Free.
    Free,
    /// Waits for this domain to bind.
    Unbound(DomainId),
    /// Joined with this port of this domain.
    Joined(DomainId, u32),
    /// Raised for this virtual interrupt.
    Virq(u32),
    /// Raised by its own domain.
    Ipi,
}

/// The ring that a port's events go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The vCPU.
    pub vcpu: u32,
    /// The ring's priority.
    pub priority: u8,
}

/// One port.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// What it is joined with.
    pub join: Join,
    /// Where its events go.
    pub target: Target,
    /// Raised before the port words were registered.
    pub(super) early: bool,
}

impl Port {
    /// A free port.
    pub const FREE: Self = Self {
        join: Join::Free,
        target: Target { vcpu: 0, priority: PRIORITY_NORMAL as u8 },
        early: false,
    };
}

/// A 32-bit word that others change at the same time; all operations are
/// atomic and sequentially consistent.
pub trait Word {
    /// Its value.
    fn get(&self) -> u32;
    /// Sets bits; the old value.
    fn set(&self, bits: u32) -> u32;
    /// Clears bits; the old value.
    fn clear(&self, bits: u32) -> u32;
}

impl Word for AtomicU32 {
    fn get(&self) -> u32 {
        self.load(Ordering::SeqCst)
    }

    fn set(&self, bits: u32) -> u32 {
        self.fetch_or(bits, Ordering::SeqCst)
    }

    fn clear(&self, bits: u32) -> u32 {
        self.fetch_and(!bits, Ordering::SeqCst)
    }
}

/// A port's lock.
pub trait Lock {
    /// Works on the port, alone.
    fn with<R>(&self, f: impl FnOnce(&mut Port) -> R) -> R;
}

impl Lock for Mutex<Port> {
    fn with<R>(&self, f: impl FnOnce(&mut Port) -> R) -> R {
        f(&mut self.lock())
    }
}

/// A domain, as far as its events go.
pub trait Home {
    /// Its ports' locks.
    type Lock: Lock;
    /// Its port words.
    type Word: Word;

    /// Its number.
    fn id(&self) -> DomainId;
    /// A port's lock.
    fn port(&self, number: u32) -> Option<&Self::Lock>;
    /// The port words are registered.
    fn has_words(&self) -> bool;
    /// A port's word: `None` while there are none, or too few.
    fn word(&self, number: u32) -> Option<&Self::Word>;
    /// There is a ring, and a vector for its vCPU.
    fn hears(&self, target: Target) -> bool;
    /// Appends a port to a ring that [`hears`](Self::hears), and tells the vCPU.
    fn append(&self, target: Target, number: u32);
}

/// Puts a port into its ring if that is due and possible; called under the
/// port's lock. The ring that the caller appends it to afterwards.
#[must_use]
fn claim<H: Home>(home: &H, port: &Port, word: &H::Word) -> Option<Target> {
    (home.hears(port.target) && word.set(LINKED) & LINKED == 0).then_some(port.target)
}

/// Raises a port if it is still joined as the sender believes.
pub fn raise<H: Home>(home: &H, number: u32, expected: Join) {
    let claimed = home.port(number).and_then(|lock| {
        lock.with(|port| {
            if port.join != expected {
                return None;
            }
            // One look decides: words that come meanwhile are followed by a
            // look at `early`, for which this lock has to be free.
            if !home.has_words() {
                port.early = true;
                return None;
            }
            let word = home.word(number)?;
            let quiet = word.set(PENDING) & (PENDING | MASKED) == 0;
            if quiet { claim(home, port, word) } else { None }
        })
    });
    if let Some(target) = claimed {
        home.append(target, number);
    }
}

/// Looks again at a port that may be pending without being in a ring: words,
/// ring, vector or target are new, or its mask was taken away.
pub fn look_again<H: Home>(home: &H, number: u32) {
    let claimed = home.port(number).and_then(|lock| {
        lock.with(|port| {
            let word = home.word(number).filter(|_| port.join != Join::Free)?;
            let bits = if core::mem::take(&mut port.early) { PENDING } else { 0 };
            let due = (word.set(bits) | bits) & (PENDING | MASKED) == PENDING;
            if due { claim(home, port, word) } else { None }
        })
    });
    if let Some(target) = claimed {
        home.append(target, number);
    }
}

/// Takes a port if it is free, for `join`; false when it is not.
pub fn take<H: Home>(home: &H, number: u32, join: Join, vcpu: u32) -> bool {
    home.port(number).is_some_and(|lock| {
        lock.with(|port| {
            if port.join != Join::Free {
                return false;
            }
            *port = Port { join, target: Target { vcpu, ..Port::FREE.target }, ..Port::FREE };
            // LINKED stays: the port may still be in a ring, and its new
            // events come with that entry.
            if let Some(word) = home.word(number) {
                word.clear(PENDING | MASKED);
            }
            true
        })
    })
}

/// Joins an unbound port of `home` with a partner, if it waits for that one.
pub fn join<H: Home>(home: &H, number: u32, partner: DomainId, with: u32) -> Result<(), Status> {
    let lock = home.port(number).ok_or(Status::NotFound)?;
    lock.with(|port| match port.join {
        Join::Unbound(waits_for) if waits_for == partner => {
            port.join = Join::Joined(partner, with);
            Ok(())
        }
        Join::Free => Err(Status::NotFound),
        Join::Joined(..) => Err(Status::Busy),
        _ => Err(Status::Denied),
    })
}

/// Frees a port; what it was joined with.
pub fn close<H: Home>(home: &H, number: u32) -> Result<Join, Status> {
    let lock = home.port(number).ok_or(Status::NotFound)?;
    match lock.with(|port| core::mem::replace(port, Port::FREE)).join {
        Join::Free => Err(Status::NotFound),
        join => Ok(join),
    }
}

/// The partner `me` closed: a port that was joined with it waits for a new one
/// of the same domain.
pub fn part<H: Home>(home: &H, number: u32, me: (DomainId, u32)) {
    if let Some(lock) = home.port(number) {
        lock.with(|port| {
            if port.join == Join::Joined(me.0, me.1) {
                port.join = Join::Unbound(me.0);
            }
        });
    }
}

/// Chooses the ring of a port's events from now on. An event that found no
/// ring before is put into the new one.
pub fn aim<H: Home>(home: &H, number: u32, target: Target) -> Result<(), Status> {
    let lock = home.port(number).ok_or(Status::NotFound)?;
    lock.with(|port| {
        if port.join == Join::Free {
            return Err(Status::NotFound);
        }
        port.target = target;
        Ok(())
    })?;
    look_again(home, number);
    Ok(())
}
