// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain is destroyed while it spins, with interrupts on and off, on one
//! vCPU and on several.

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, cpu, error, smp};

use crate::child::{Child, Spec};

fn spin(index: usize) {
    MAIL.answer(index + 1, 1);
    if MAIL.to(0) == 1 {
        cpu::cli();
    } else {
        cpu::sti();
    }
    loop {
        core::hint::black_box(());
    }
}

fn child() -> Outcome {
    for index in 1..MAIL.to(1) as usize {
        if !smp::start(index, spin, 2000) {
            return Err(error!("vCPU {index} did not start"));
        }
    }
    spin(0);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    for vcpus in [1, 3] {
        for interrupts_off in [0, 1] {
            let child = Child::with(&Spec { vcpus, ..Spec::new(child) })?;
            child.mail()?.tell(0, interrupts_off);
            child.mail()?.tell(1, vcpus.into());
            child.start()?;
            for index in 0..vcpus as usize {
                child.wait_for(index + 1, 1)?;
            }
            child.destroy()?;
        }
    }
    Ok(())
}
