// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain with a cap gets no more CPU time than that, alone on its CPU.

use core::sync::atomic::Ordering;

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, apic, check};

use crate::child::{Child, Spec};

fn child() -> Outcome {
    loop {
        MAIL.from[0].fetch_add(1, Ordering::Relaxed);
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { cap: 25, ..Spec::new(child) })?;
    child.start()?;
    apic::sleep_us(150_000);
    let before = child.info()?.run_ns;
    apic::sleep_us(1_000_000);
    let percent = (child.info()?.run_ns - before) / 10_000_000;
    check!((10..=60).contains(&percent), "{percent} % of a CPU, capped at 25 %");
    child.destroy()
}
