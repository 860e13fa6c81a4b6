// SPDX-License-Identifier: MIT OR Apache-2.0
//! HLT with interrupts off and nothing to end it: the domain waits for good,
//! takes no CPU time, can be paused, and is destroyed. An NMI ends it.

use hv_abi::domain::state;
use hv_guest::apic::{self, kind};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, smp, trap};

use crate::child::{Child, Spec};

fn child() -> Outcome {
    MAIL.answer(0, 1);
    cpu::halt_forever()
}

fn sleeper(_: usize) {
    trap::on(trap::vector::NMI, |_| MAIL.answer(1, 1));
    // An IRET: Bochs 2.7 takes NMIs as blocked that another guest, gone since,
    // left blocked on this CPU.
    trap::on(trap::vector::BREAKPOINT, |_| {});
    // SAFETY: a breakpoint with a handler.
    unsafe { core::arch::asm!("int3") };
    MAIL.answer(0, 1);
    cpu::cli();
    cpu::hlt();
    MAIL.answer(2, 1);
}

fn waker() -> Outcome {
    check!(smp::start(1, sleeper, 3000));
    check!(cpu::wait_until(3000, || MAIL.from(0) == 1));
    cpu::spin_us(2000);
    check_eq!(MAIL.from(2), 0, "HLT ended by itself");
    apic::send(1, kind::NMI);
    check!(cpu::wait_until(3000, || MAIL.from(1) == 1), "the NMI did not come");
    check!(cpu::wait_until(3000, || MAIL.from(2) == 1), "the NMI did not end HLT");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let victim = Child::new(child)?;
    victim.start()?;
    victim.wait_for(0, 1)?;
    cpu::spin_us(2000);
    let before = victim.info()?;
    check!(before.state & state::BLOCKED != 0, "state {:#x}", before.state);
    cpu::spin_us(5000);
    check_eq!(victim.info()?.run_ns, before.run_ns, "it ran while halted");
    victim.pause()?;
    victim.start()?;
    victim.destroy()?;

    let child = Child::with(&Spec { vcpus: 2, ..Spec::new(waker) })?;
    child.start()?;
    child.finish()?;
    child.destroy()
}
