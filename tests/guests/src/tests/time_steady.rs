// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TSC never goes back, on one vCPU or from one to another, and runs at
//! the frequency that CPUID tells, by the core's clock.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, ok, smp};

use crate::child;
use crate::host;

static LATEST: AtomicU64 = AtomicU64::new(0);

/// Looks `rounds` times whether the time is behind what another has seen.
fn look(rounds: u64) -> u64 {
    (0..rounds)
        .filter(|_| {
            let seen = LATEST.load(Ordering::SeqCst);
            let now = cpu::tsc();
            LATEST.fetch_max(now, Ordering::SeqCst);
            now < seen
        })
        .count() as u64
}

fn other(index: usize) {
    MAIL.answer(index, 1 + look(20_000));
}

fn child() -> Outcome {
    for index in 1..3 {
        check!(smp::start(index, other, 5000));
    }
    check_eq!(look(20_000), 0, "vCPU 0 went back");
    for index in 1..3 {
        check!(cpu::wait_until(10_000, || MAIL.from(index) != 0));
        check_eq!(MAIL.from(index), 1, "vCPU {index} went back");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let (tsc, before) = (cpu::tsc(), ok!(host::host()));
    check_eq!(before.tsc_khz, cpu::khz());
    cpu::spin_us(100_000);
    let (ticks, ns) = (cpu::tsc() - tsc, ok!(host::host()).uptime_ns - before.uptime_ns);
    let by_tsc = ticks * 1_000_000 / cpu::khz();
    let off = by_tsc.abs_diff(ns);
    check!(off < ns / 20 + 1_000_000, "{ns} ns by the core, {by_tsc} ns by the TSC");
    child::run_smp(3, child)
}
