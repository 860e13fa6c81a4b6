// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical interrupts. The core has a few vectors at the top; all others are
//! the control domain's: they are recorded on the CPU they arrive at, and
//! [`drain`] hands them over.
//!
//! An edge is acknowledged at once. A level stays in service, so that it
//! can't come again before its device is quiet, until the control domain
//! acknowledges it ([`end_level`]). An APIC ends only the highest vector in
//! service, so an acknowledgement that comes too early is remembered (`owed`)
//! until the ones above are done.

use super::percpu::{VectorSet, here};
use super::{apic, fault, time};
use core::sync::atomic::Ordering::Relaxed;

/// The core's timer.
pub(super) const TIMER: u8 = 0xf0;
/// Leave guest mode, or wake.
pub(super) const KICK: u8 = 0xf1;
/// Stand still: another CPU reports a fatal error.
pub(super) const STOP: u8 = 0xf2;
/// Look into the mailbox of the vCPU that runs: the CPU itself does, if it is
/// in guest mode and has been told to.
pub(super) const POSTED: u8 = 0xf3;
/// The APIC took an interrupt back; no acknowledgement.
pub(super) const SPURIOUS: u8 = 0xff;

// Only its own CPU, with interrupts off, touches a set: load and store do.
fn change(set: &VectorSet, vector: u8, on: bool) {
    if let Some(word) = set.get(usize::from(vector >> 6)) {
        let bit = 1 << (vector & 63);
        let old = word.load(Relaxed);
        word.store(if on { old | bit } else { old & !bit }, Relaxed);
    }
}

fn contains(set: &VectorSet, vector: u8) -> bool {
    let word = set.get(usize::from(vector >> 6)).map_or(0, |word| word.load(Relaxed));
    word & 1 << (vector & 63) != 0
}

/// Takes a physical interrupt: from the interrupt descriptor table, or from
/// a VM exit that has acknowledged it already.
pub(crate) fn handle(vector: u8) {
    match vector {
        TIMER => {
            apic::eoi();
            time::fired();
        }
        KICK | POSTED => apic::eoi(),
        STOP => fault::stop(),
        0x20..=0xef => record(vector),
        // Spurious, and vectors nobody uses.
        _ => {
            if vector != SPURIOUS && apic::in_service(vector) {
                apic::eoi();
            }
        }
    }
}

fn record(vector: u8) {
    // From an 8259, or taken back meanwhile: an EOI would hit another one.
    if !apic::in_service(vector) {
        return;
    }
    let cpu = here();
    let level = apic::is_level(vector);
    change(&cpu.level, vector, level);
    change(&cpu.arrived, vector, true);
    if !level {
        apic::eoi();
    }
}

/// Hands over (vector, level-triggered) of what has arrived on this CPU for
/// the control domain since the last call, the most important first.
pub fn drain(take: &mut dyn FnMut(u8, bool)) {
    let cpu = here();
    for (i, word) in cpu.arrived.iter().enumerate().rev() {
        let mut left = word.load(Relaxed);
        if left == 0 {
            continue;
        }
        word.store(0, Relaxed);
        while let Some(bit) = left.checked_ilog2() {
            left &= !(1 << bit);
            let vector = (i as u32 * 64 + bit) as u8;
            take(vector, contains(&cpu.level, vector));
        }
    }
}

/// The control domain acknowledges a level-triggered vector on this CPU. One
/// that is not in service is ignored.
pub fn end_level(vector: u8) {
    let cpu = here();
    if !contains(&cpu.level, vector) {
        return;
    }
    change(&cpu.level, vector, false);
    change(&cpu.owed, vector, true);
    // At most one round for each vector: an EOI takes one out of service, and
    // with interrupts off none comes in.
    while let Some(top) = apic::highest_in_service() {
        if !contains(&cpu.owed, top) {
            break;
        }
        change(&cpu.owed, top, false);
        apic::eoi();
    }
}

/// Forgets what came in before there was anybody to hand it to.
pub(super) fn forget() {
    here().arrived.iter().for_each(|word| word.store(0, Relaxed));
}
