// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random hypercalls, by the table: a row's argument names say which of them
//! are addresses.

use hv_abi::{HYPERCALLS, HypercallInfo, Status};
use hv_guest::hypercall::raw;
use hv_guest::{apic, cpu};

use super::{END, LOSABLE, SCRATCH, Tape, VICTIM, bad};

/// An argument that is a number: ports, domains, lengths, vectors.
fn number(tape: &mut Tape) -> u64 {
    match tape.below(8) {
        0..=2 => tape.below(6),
        3 => tape.below(1100),
        4 => 10 + tape.below(5),
        5 => hv_abi::DOM_SELF,
        _ => tape.value(),
    }
}

/// An address that the core may write to, or take away with `losing`.
fn address(tape: &mut Tape, losing: bool) -> u64 {
    if losing && tape.below(2) == 0 {
        return (LOSABLE + tape.below(END - LOSABLE)) & !0xfff;
    }
    let at = match tape.below(4) {
        0 => tape.value(),
        _ => tape.memory(),
    };
    // Below is the program itself, and what must stay for its buffers.
    let first = if losing { LOSABLE } else { SCRATCH };
    if at < first { at | first } else { at }
}

fn arguments(row: &HypercallInfo, tape: &mut Tape) -> [u64; 5] {
    let losing = row.name.contains("release");
    let mut args = [0; 5].map(|_: u64| number(tape));
    for (value, name) in args.iter_mut().zip(row.args) {
        if name.contains("gpa") {
            *value = address(tape, losing);
        }
    }
    args
}

/// Sees to it that a call that waits comes back.
fn wake_soon() {
    cpu::wrmsr(apic::msr::TPR, 0);
    cpu::let_in();
    apic::deadline(apic::SLEEP, cpu::tsc() + cpu::khz() / 10);
}

/// One call.
pub fn one(tape: &mut Tape) {
    let row = &HYPERCALLS[tape.below(HYPERCALLS.len() as u64) as usize];
    let mut args = arguments(row, tape);
    let call = match tape.below(40) {
        // No row has a number so high.
        0 => tape.word() | 1 << 40,
        _ => u64::from(row.number),
    };
    if row.name == "vcpu_stop" {
        // The program shall go on.
        args[1] = VICTIM as u64;
    }
    if row.name.contains("shutdown") && row.args.contains(&"code") && !tape.wild() {
        return;
    }
    if row.name.starts_with("sched_") || row.name.contains("block") {
        wake_soon();
    }
    let (status, _) = raw(call, args);
    if Status::from_code(status).is_none() {
        bad(1, call, status);
    }
}
