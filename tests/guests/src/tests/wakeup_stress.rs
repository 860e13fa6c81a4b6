// SPDX-License-Identifier: MIT OR Apache-2.0
//! No wake-up is lost: two vCPUs that both halt wake each other by
//! interprocessor interrupts, two thousand times.

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, apic, check, cpu, smp, trap};

use crate::child;

const ROUNDS: u64 = 2000;
const TO_FIRST: u8 = 0x50;
const TO_SECOND: u8 = 0x51;

/// Halts until `vector` has come `count` times.
fn wait(vector: u8, count: u64) {
    cpu::cli();
    while trap::count(vector) < count {
        cpu::sti_hlt();
        cpu::cli();
    }
}

fn second(_: usize) {
    for round in 1..=ROUNDS {
        wait(TO_SECOND, round);
        apic::ipi(0, TO_FIRST);
    }
    MAIL.answer(0, 1);
}

fn child() -> Outcome {
    check!(smp::start(1, second, 5000));
    for round in 1..=ROUNDS {
        apic::ipi(1, TO_SECOND);
        wait(TO_FIRST, round);
    }
    check!(cpu::wait_until(2000, || MAIL.from(0) == 1));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run_smp(2, child)
}
