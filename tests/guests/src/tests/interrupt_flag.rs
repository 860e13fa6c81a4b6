// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interrupt that is pending waits for IF, whatever physical interrupts come
//! meanwhile: the runner competes for the CPU, so that its timer does.

use hv_abi::domain::state;
use hv_guest::cpu::{cli, let_in, spin_us, sti, tsc, wrmsr};
use hv_guest::trap::count;
use hv_guest::{Outcome, apic, check, check_eq, cpu};

use crate::child::Child;

const VECTOR: u8 = 0x71;
const ROUNDS: u64 = 10;

fn child() -> Outcome {
    sti();
    for round in 0..ROUNDS {
        cli();
        // By the command register it exits, by the other one it may not.
        if round % 2 == 0 {
            apic::ipi(0, VECTOR);
        } else {
            wrmsr(apic::msr::SELF_IPI, VECTOR.into());
        }
        // Longer than a slice.
        let end = tsc() + 8 * cpu::khz();
        while tsc() < end {
            check_eq!(count(VECTOR), round, "with IF clear");
        }
        let_in();
        check_eq!(count(VECTOR), round + 1, "after STI");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    child.start()?;
    let before = tsc();
    while child.info()?.state & state::SHUTDOWN == 0 {
        spin_us(1000);
        check!(tsc() - before < 20_000 * cpu::khz(), "it does not end");
    }
    let info = child.wait()?;
    child.verdict(&info)?;
    child.destroy()
}
