// SPDX-License-Identifier: MIT OR Apache-2.0
//! A paused domain does not run; pauses count; unpausing more often than
//! pausing is refused.

use core::sync::atomic::Ordering;

use hv_abi::domain::state;
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu};

use crate::child::Child;

fn child() -> Outcome {
    loop {
        MAIL.from[0].fetch_add(1, Ordering::SeqCst);
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    check_eq!(child.info()?.state, state::PAUSED | state::NEW);
    child.start()?;
    child.wait_for(0, 1)?;
    check_eq!(child.info()?.state & (state::PAUSED | state::NEW), 0);
    for _ in 0..5 {
        child.pause()?;
        child.pause()?;
        let stood = child.mail()?.from(0);
        cpu::spin_us(2000);
        check_eq!(child.mail()?.from(0), stood, "it ran while paused");
        check!(child.info()?.state & state::PAUSED != 0);
        check!(child.info()?.state & state::RUNNING == 0);
        child.start()?;
        cpu::spin_us(2000);
        check_eq!(child.mail()?.from(0), stood, "it ran while one pause was held");
        child.start()?;
        child.wait_for(0, stood + 1)?;
    }
    check_eq!(call(H::DomainUnpause { domain: child.id }), Err(Status::State));
    child.destroy()
}
