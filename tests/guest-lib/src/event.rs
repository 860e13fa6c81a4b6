// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's half of events, as `hv_abi::event` describes it: port words,
//! rings, the upcall that consumes them. Each port's events are counted, and
//! the order in which ports came is kept.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use hv_abi::event::{LINKED, LOG2_PORTS_MIN, MASKED, PENDING, PRIORITIES};
use hv_abi::{Hypercall, Status};

use crate::descriptor::{self, MAX_CPUS};
use crate::hypercall::{call, gpa};
use crate::trap::{self, Frame};

/// The upcall's vector.
pub const UPCALL: u8 = 0x60;
/// Port words.
pub const PORTS: usize = 1 << LOG2_PORTS_MIN;

#[repr(C, align(4096))]
struct Page([AtomicU32; PORTS]);

impl Page {
    const fn empty() -> Self {
        Self([const { AtomicU32::new(0) }; PORTS])
    }
}

static WORDS: Page = Page::empty();
static RINGS: [[Page; PRIORITIES]; MAX_CPUS] =
    [const { [const { Page::empty() }; PRIORITIES] }; MAX_CPUS];
static NEXT: [[AtomicUsize; PRIORITIES]; MAX_CPUS] =
    [const { [const { AtomicUsize::new(0) }; PRIORITIES] }; MAX_CPUS];
static SEEN: [AtomicU32; PORTS] = [const { AtomicU32::new(0) }; PORTS];
static ORDER: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];
static ORDERED: AtomicUsize = AtomicUsize::new(0);

/// Address of the port words.
pub fn words() -> u64 {
    gpa(&WORDS)
}

/// Address of a ring.
pub fn ring(vcpu: usize, priority: usize) -> u64 {
    gpa(&RINGS[vcpu][priority])
}

/// Registers words, vCPU 0's rings and its vector.
pub fn setup() -> Result<(), Status> {
    call(Hypercall::EventWords { gpa: words(), log2_ports: LOG2_PORTS_MIN.into() })?;
    setup_vcpu(0)
}

/// Registers a vCPU's rings and vector.
pub fn setup_vcpu(vcpu: usize) -> Result<(), Status> {
    let number = vcpu as u64;
    for priority in 0..PRIORITIES {
        call(Hypercall::EventRing {
            vcpu: number,
            priority: priority as u64,
            gpa: ring(vcpu, priority),
            log2_slots: LOG2_PORTS_MIN.into(),
        })?;
    }
    trap::on(UPCALL, upcall);
    call(Hypercall::EventUpcall { vcpu: number, vector: UPCALL.into() }).map(|_| ())
}

fn upcall(_: &mut Frame) {
    consume(descriptor::index());
}

/// Consumes a vCPU's rings, urgent first.
pub fn consume(vcpu: usize) {
    for (page, next) in RINGS[vcpu].iter().zip(&NEXT[vcpu]) {
        loop {
            let slot = &page.0[next.load(Ordering::Relaxed) % PORTS];
            let entry = slot.load(Ordering::SeqCst);
            if entry == 0 {
                break;
            }
            slot.store(0, Ordering::SeqCst);
            next.fetch_add(1, Ordering::Relaxed);
            let port = (entry - 1) as usize;
            // A core that writes a port beyond the words is found here.
            let word = &WORDS.0[port];
            let old = word.fetch_and(!LINKED, Ordering::SeqCst);
            if old & MASKED == 0 {
                word.fetch_and(!PENDING, Ordering::SeqCst);
                SEEN[port].fetch_add(1, Ordering::SeqCst);
                let place = ORDERED.fetch_add(1, Ordering::SeqCst);
                ORDER[place % ORDER.len()].store(port as u32, Ordering::SeqCst);
            }
        }
    }
}

/// How often a port's event came.
pub fn seen(port: u64) -> u32 {
    SEEN[port as usize].load(Ordering::SeqCst)
}

/// The port that came `n`th, counted from 0.
pub fn nth(n: usize) -> Option<u64> {
    (n < ORDERED.load(Ordering::SeqCst))
        .then(|| u64::from(ORDER[n % ORDER.len()].load(Ordering::SeqCst)))
}

/// A port's word.
pub fn word(port: u64) -> u32 {
    WORDS.0[port as usize].load(Ordering::SeqCst)
}

/// Masks a port.
pub fn mask(port: u64) {
    WORDS.0[port as usize].fetch_or(MASKED, Ordering::SeqCst);
}

/// Unmasks a port, with the call when it is pending.
pub fn unmask(port: u64) -> Result<(), Status> {
    let old = WORDS.0[port as usize].fetch_and(!MASKED, Ordering::SeqCst);
    if old & PENDING != 0 {
        call(Hypercall::EventUnmask { port })?;
    }
    Ok(())
}
