// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interrupt that only the task priority holds back comes with the very
//! instruction that lowers it: nothing else has to bring the vCPU out. CR8 may
//! also be written while an interrupt waits for IF.

use hv_guest::cpu::{cli, let_in, set_cr8, sti};
use hv_guest::trap::{catch, count};
use hv_guest::{Outcome, apic, check, check_eq};

use crate::child;

const VECTOR: u8 = 0x65;
const CLASS: u64 = 6;

fn child() -> Outcome {
    sti();
    for round in 0..50 {
        set_cr8(15);
        apic::ipi(0, VECTOR);
        check_eq!(count(VECTOR), round, "at the highest priority");
        set_cr8(CLASS);
        check_eq!(count(VECTOR), round, "at its own class");
        set_cr8(CLASS - 1);
        check_eq!(count(VECTOR), round + 1, "right behind the write");
    }
    // Reserved bits are #GP, or ignored (QEMU's TCG); the interrupt goes on
    // waiting.
    set_cr8(15);
    apic::ipi(0, VECTOR);
    for value in [0x1f, 1 << 63 | 15] {
        let caught = catch(|| set_cr8(value));
        check!(caught.is_ok() || caught.is_err_and(|f| f.is_gp()), "{value:#x}: {caught:?}");
        check_eq!(count(VECTOR), 50);
    }
    sti();
    let_in();
    check_eq!(count(VECTOR), 50, "still held back");
    sti();
    set_cr8(0);
    check_eq!(count(VECTOR), 51);
    // Open by priority, closed by IF: CR8 changes nothing, STI does.
    cli();
    apic::ipi(0, VECTOR);
    for value in [3, 15, 0] {
        set_cr8(value);
        check_eq!(count(VECTOR), 51, "CR8 = {value} with IF clear");
    }
    sti();
    let_in();
    check_eq!(count(VECTOR), 52, "after STI");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
