// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that executes PAUSE for ever, with interrupts off, on more vCPUs
//! than there are CPUs: others run, and it is paused and destroyed.

use core::sync::atomic::Ordering;

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, cpu, error, smp};

use crate::child::{Child, Spec};

fn spin(index: usize) {
    cpu::cli();
    loop {
        MAIL.from[index].fetch_add(1, Ordering::Relaxed);
        for _ in 0..100 {
            core::hint::spin_loop();
        }
    }
}

fn child() -> Outcome {
    for index in 1..4 {
        if !smp::start(index, spin, 5000) {
            return Err(error!("vCPU {index} did not start"));
        }
    }
    spin(0);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { vcpus: 4, ..Spec::new(child) })?;
    child.start()?;
    for index in 0..4 {
        child.wait_for(index, 1)?;
    }
    let before: [u64; 4] = core::array::from_fn(|i| child.mail().map_or(0, |m| m.from(i)));
    for (index, before) in before.iter().enumerate() {
        child.wait_for(index, before + 2)?;
    }
    let start = cpu::tsc();
    child.pause()?;
    check!(cpu::tsc() - start < 1000 * cpu::khz(), "pausing took too long");
    child.destroy()
}
