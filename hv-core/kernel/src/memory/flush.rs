// SPDX-License-Identifier: MIT OR Apache-2.0
//! After stage 2 tables lost a translation, every CPU that may still hold it
//! must forget it before the frame is used again.
//!
//! A domain has a flush generation. [`begin`] raises it and kicks the CPUs
//! that run the domain; a vCPU compares the generation before each entry and
//! flushes when it is behind. A CPU outside guest mode holds nothing that
//! matters, so [`Ticket::wait`] only waits for those inside. Two CPUs that
//! wait for each other are both outside, hence can't block each other.

use super::pool;
use crate::domain::Domain;
use crate::per_cpu;
use core::sync::atomic::Ordering;
use hv_hal::addr::{CpuId, Frame, Order};
use hv_hal::cpu;

/// Frames that no table names any more, but some TLB might.
#[must_use]
pub struct Stale(pub Frame, pub Order);

/// Proof that every CPU forgot what was unmapped before it was made.
pub struct Flushed(());

/// Makes every CPU forget the domain's translations; returns when all have.
pub fn everywhere(domain: &Domain) -> Flushed {
    domain.memory.flush.fetch_add(1, Ordering::SeqCst);
    let here = cpu::current();
    for id in (0..cpu::count()).map(CpuId).filter(|id| *id != here) {
        let Some(other) = per_cpu::of(id) else {
            continue;
        };
        let seen = other.entries.load(Ordering::SeqCst);
        let inside = seen & 1 == 1;
        if !inside || !other.runs(domain.id) {
            continue;
        }
        cpu::kick(id);
        while other.entries.load(Ordering::SeqCst) == seen {
            cpu::relax();
        }
    }
    Flushed(())
}

/// A domain whose vCPUs can never run again: its translations are tagged
/// with identifiers that are not used again without a flush.
pub fn never_again(domain: &Domain) -> Option<Flushed> {
    domain.is_dead().then_some(Flushed(()))
}

impl Stale {
    /// Scrubs and frees the frames.
    pub fn settle(self, _proof: &Flushed) {
        pool::free(self.0, self.1);
    }
}
