// SPDX-License-Identifier: MIT OR Apache-2.0
//! HLT and SchedBlock wait for the timer and use no CPU time meanwhile; an
//! interrupt that is pending already ends them at once.

use hv_abi::Hypercall as H;
use hv_abi::domain::state;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, apic, check, check_eq, cpu, ok};

use crate::child::Child;

const VECTOR: u8 = 0x70;

fn child() -> Outcome {
    let start = cpu::tsc();
    apic::sleep_us(20_000);
    check!(cpu::tsc() - start >= 20 * cpu::khz(), "HLT ended early");

    apic::deadline(VECTOR, cpu::tsc() + 5 * cpu::khz());
    check_eq!(call(H::SchedBlock {}), Ok(0));
    check!(cpu::tsc() >= start + 25 * cpu::khz(), "SchedBlock ended early");
    check_eq!(call(H::SchedBlock {}), Ok(0), "with an interrupt pending");
    check_eq!(hv_guest::trap::count(VECTOR), 0, "IF is clear");
    cpu::sti();
    check!(cpu::wait_until(1000, || hv_guest::trap::count(VECTOR) == 1));
    cpu::cli();
    apic::ipi(0, VECTOR);
    cpu::sti_hlt();
    check_eq!(hv_guest::trap::count(VECTOR), 2, "an interrupt before HLT");
    MAIL.answer(0, 1);
    // Nothing will come: the runner looks and lets it end.
    cpu::cli();
    cpu::sti_hlt();
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    child.start()?;
    child.wait_for(0, 1)?;
    let blocked =
        cpu::wait_until(3000, || child.info().is_ok_and(|info| info.state & state::BLOCKED != 0));
    check!(blocked, "a halted domain is not blocked: {:#x}", child.info()?.state);
    let before = child.info()?.run_ns;
    cpu::spin_us(5000);
    check_eq!(child.info()?.run_ns, before, "it ran while halted");
    ok!(call(H::DomainPause { domain: child.id }));
    ok!(call(H::DomainUnpause { domain: child.id }));
    cpu::spin_us(1000);
    check!(child.info()?.state & state::BLOCKED != 0, "pausing ended the HLT");
    child.destroy()
}
