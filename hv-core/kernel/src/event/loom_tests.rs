// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every interleaving, and every reordering the memory model allows, of the
//! core's side of events ([`protocol`](super::protocol), the code itself) and
//! a guest's (by the rules of `hv_abi::event`). In each model the claim is
//! the same: what was sent is handled, once everybody has come to an end.

use super::protocol::{self, Home, Join, Lock, Port, Target, Word};
use hv_abi::DomainId;
use hv_abi::event::{LINKED, MASKED, PENDING};
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// The port that is rung, of a domain with this number.
const PORT: u32 = 1;
const HERE: DomainId = 7;
const PEER: (DomainId, u32) = (3, 9);
const SLOTS: usize = 4;
const JOINED: Join = Join::Joined(PEER.0, PEER.1);

struct W(AtomicU32);

impl Word for W {
    fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, bits: u32) -> u32 {
        self.0.fetch_or(bits, Ordering::SeqCst)
    }

    fn clear(&self, bits: u32) -> u32 {
        self.0.fetch_and(!bits, Ordering::SeqCst)
    }
}

struct L(Mutex<Port>);

impl Lock for L {
    fn with<R>(&self, f: impl FnOnce(&mut Port) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

/// Two vCPUs with a ring each; the second's may be missing.
struct Ring {
    there: AtomicBool,
    slots: [AtomicU32; SLOTS],
    produced: AtomicU32,
    /// The upcall was posted.
    posted: AtomicBool,
}

impl Ring {
    fn new(there: bool) -> Self {
        Self {
            there: AtomicBool::new(there),
            slots: [0; SLOTS].map(AtomicU32::new),
            produced: AtomicU32::new(0),
            posted: AtomicBool::new(false),
        }
    }
}

struct Model {
    words_there: AtomicBool,
    word: W,
    lock: L,
    rings: [Ring; 2],
}

impl Home for Model {
    type Lock = L;
    type Word = W;

    fn id(&self) -> DomainId {
        HERE
    }

    fn port(&self, number: u32) -> Option<&L> {
        (number == PORT).then_some(&self.lock)
    }

    fn has_words(&self) -> bool {
        // As `spin::Once::get`.
        self.words_there.load(Ordering::Acquire)
    }

    fn word(&self, number: u32) -> Option<&W> {
        (number == PORT && self.has_words()).then_some(&self.word)
    }

    fn hears(&self, target: Target) -> bool {
        self.rings[target.vcpu as usize].there.load(Ordering::Acquire)
    }

    fn append(&self, target: Target, number: u32) {
        // As `event::Ring::append` and `Vcpu::post`.
        let ring = &self.rings[target.vcpu as usize];
        let at = ring.produced.fetch_add(1, Ordering::AcqRel) as usize;
        assert!(at < SLOTS, "appended more often than raised");
        ring.slots[at].store(number + 1, Ordering::SeqCst);
        ring.posted.swap(true, Ordering::SeqCst);
    }
}

impl Model {
    fn new(join: Join, words: bool, rings: [bool; 2]) -> Arc<Self> {
        Arc::new(Self {
            words_there: AtomicBool::new(words),
            word: W(AtomicU32::new(0)),
            lock: L(Mutex::new(Port { join, ..Port::FREE })),
            rings: rings.map(Ring::new),
        })
    }

    fn aim(&self, vcpu: u32) {
        self.lock.with(|port| port.target.vcpu = vcpu);
    }
}

/// A guest's vCPU: what it has taken from its ring, what it has handled.
struct Guest {
    vcpu: usize,
    next: usize,
    handled: u32,
}

impl Guest {
    fn new(vcpu: usize) -> Self {
        Self { vcpu, next: 0, handled: 0 }
    }

    /// The upcall's handler, if the upcall was posted.
    fn upcall(&mut self, model: &Model) {
        let ring = &model.rings[self.vcpu];
        if !ring.posted.swap(false, Ordering::SeqCst) {
            return;
        }
        while let Some(slot) = ring.slots.get(self.next) {
            let entry = slot.load(Ordering::SeqCst);
            if entry == 0 {
                return;
            }
            assert_eq!(entry, PORT + 1);
            slot.store(0, Ordering::SeqCst);
            self.next += 1;
            let old = model.word.clear(LINKED);
            assert!(old & LINKED != 0, "a slot of a port that is not linked");
            if old & MASKED == 0 && model.word.clear(PENDING) & PENDING != 0 {
                self.handled += 1;
            }
        }
    }

    fn unmask(&mut self, model: &Model) {
        if model.word.clear(MASKED) & PENDING != 0 {
            protocol::look_again(model, PORT);
        }
    }
}

/// After everything: no event waits that nobody was told of.
fn settled(model: &Model) {
    let word = model.word.get();
    assert_eq!(word & (PENDING | LINKED), 0, "left: {word:#x}");
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn two_senders_and_a_guest() {
    check(|| {
        let model = Model::new(JOINED, true, [true, false]);
        let senders = [0, 1].map(|_| {
            let model = model.clone();
            thread::spawn(move || protocol::raise(&*model, PORT, JOINED))
        });
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        for sender in senders {
            sender.join().unwrap();
        }
        guest.upcall(&model);
        assert!((1..=2).contains(&guest.handled));
        settled(&model);
    });
}

#[test]
fn every_event_comes_after_it_was_sent() {
    check(|| {
        let model = Model::new(JOINED, true, [true, false]);
        let theirs = model.clone();
        let data = Arc::new(AtomicU32::new(0));
        let written = data.clone();
        let sender = thread::spawn(move || {
            for value in 1..=2 {
                // What the event tells of, with no ordering of its own.
                written.store(value, Ordering::Relaxed);
                protocol::raise(&*theirs, PORT, JOINED);
            }
        });
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        sender.join().unwrap();
        guest.upcall(&model);
        assert_eq!(data.load(Ordering::Relaxed), 2);
        settled(&model);
    });
}

#[test]
fn a_masked_port_keeps_its_event() {
    check(|| {
        let model = Model::new(JOINED, true, [true, false]);
        let theirs = model.clone();
        let sender = thread::spawn(move || protocol::raise(&*theirs, PORT, JOINED));
        let mut guest = Guest::new(0);
        model.word.set(MASKED);
        guest.upcall(&model);
        guest.unmask(&model);
        guest.upcall(&model);
        sender.join().unwrap();
        guest.upcall(&model);
        assert_eq!(guest.handled, 1);
        settled(&model);
    });
}

#[test]
fn an_event_before_the_ring_is_not_lost() {
    check(|| {
        let model = Model::new(JOINED, true, [false, false]);
        let theirs = model.clone();
        let sender = thread::spawn(move || protocol::raise(&*theirs, PORT, JOINED));
        // As `event::register_ring`: the ring, then a look.
        model.rings[0].there.store(true, Ordering::Release);
        protocol::look_again(&*model, PORT);
        sender.join().unwrap();
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        assert_eq!(guest.handled, 1);
        settled(&model);
    });
}

#[test]
fn an_event_before_the_words_is_not_lost() {
    check(|| {
        let model = Model::new(JOINED, false, [true, false]);
        let theirs = model.clone();
        let sender = thread::spawn(move || protocol::raise(&*theirs, PORT, JOINED));
        model.words_there.store(true, Ordering::Release);
        protocol::look_again(&*model, PORT);
        sender.join().unwrap();
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        assert_eq!(guest.handled, 1);
        settled(&model);
    });
}

#[test]
fn an_event_follows_its_new_target() {
    check(|| {
        // Aimed at a vCPU without a ring, then at one with.
        let model = Model::new(JOINED, true, [true, false]);
        model.aim(1);
        let theirs = model.clone();
        let sender = thread::spawn(move || protocol::raise(&*theirs, PORT, JOINED));
        protocol::aim(&*model, PORT, Target { vcpu: 0, priority: 1 }).unwrap();
        sender.join().unwrap();
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        assert_eq!(guest.handled, 1);
        settled(&model);
    });
}

#[test]
fn a_new_life_of_a_port_loses_nothing() {
    check(|| {
        // An old partner rings while the port is closed and taken anew, aimed
        // at another ring; then its new partner rings.
        let model = Model::new(JOINED, true, [true, false]);
        model.aim(1);
        let theirs = model.clone();
        let old = thread::spawn(move || protocol::raise(&*theirs, PORT, JOINED));
        assert_eq!(protocol::close(&*model, PORT), Ok(JOINED));
        assert!(protocol::take(&*model, PORT, Join::Unbound(4), 0));
        assert_eq!(protocol::join(&*model, PORT, 4, 2), Ok(()));
        let mut guest = Guest::new(0);
        protocol::raise(&*model, PORT, Join::Joined(4, 2));
        old.join().unwrap();
        guest.upcall(&model);
        assert_eq!(guest.handled, 1);
        settled(&model);
    });
}

#[test]
fn a_close_in_the_middle_of_a_send() {
    check(|| {
        let model = Model::new(JOINED, true, [true, false]);
        let theirs = model.clone();
        let sender = thread::spawn(move || protocol::raise(&*theirs, PORT, JOINED));
        let closed = protocol::close(&*model, PORT);
        assert_eq!(closed, Ok(JOINED));
        assert_eq!(protocol::close(&*model, PORT), Err(hv_abi::Status::NotFound));
        sender.join().unwrap();
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        settled(&model);
    });
}

#[test]
fn a_reset_while_a_partner_binds_and_rings() {
    check(|| {
        // As EventReset: every port is closed, whatever it is; here while one
        // is bound, or has just been, and rings.
        let model = Model::new(Join::Unbound(PEER.0), true, [true, false]);
        let theirs = model.clone();
        let partner = thread::spawn(move || {
            if protocol::join(&*theirs, PORT, PEER.0, PEER.1).is_ok() {
                protocol::raise(&*theirs, PORT, JOINED);
            }
        });
        let mut guest = Guest::new(0);
        guest.upcall(&model);
        let closed = protocol::close(&*model, PORT).unwrap();
        assert!(closed == JOINED || closed == Join::Unbound(PEER.0), "{closed:?}");
        // The guest begins anew at once.
        assert!(protocol::take(&*model, PORT, Join::Ipi, 0));
        partner.join().unwrap();
        let before = guest.handled;
        protocol::raise(&*model, PORT, Join::Ipi);
        guest.upcall(&model);
        assert!(guest.handled > before, "an event after the reset was lost");
        model.lock.with(|port| assert_eq!(port.join, Join::Ipi));
        settled(&model);
    });
}

#[test]
fn both_ends_close_at_once() {
    check(|| {
        let model = Model::new(JOINED, true, [true, false]);
        let theirs = model.clone();
        // The partner closes its end while this one closes its own and takes
        // the port again for itself.
        let partner = thread::spawn(move || protocol::part(&*theirs, PORT, PEER));
        let old = protocol::close(&*model, PORT).unwrap();
        assert!(old == JOINED || old == Join::Unbound(PEER.0), "{old:?}");
        assert!(protocol::take(&*model, PORT, Join::Ipi, 0));
        partner.join().unwrap();
        model.lock.with(|port| assert_eq!(port.join, Join::Ipi));
    });
}

#[test]
fn one_of_two_binds() {
    check(|| {
        let model = Model::new(Join::Unbound(PEER.0), true, [true, false]);
        let binders = [9, 10].map(|port| {
            let model = model.clone();
            thread::spawn(move || protocol::join(&*model, PORT, PEER.0, port).is_ok())
        });
        let [a, b] = binders.map(|b| b.join().unwrap());
        assert!(a != b, "{a} {b}");
    });
}
