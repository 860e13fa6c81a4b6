// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain that feeds its watchdog lives, one that turned it off lives, one
//! that does neither is stopped, whether it spins or sleeps.

use hv_abi::domain::reason;
use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, cpu, ok};

use crate::child::{self, Child};

fn fed() -> Outcome {
    check_eq!(Hv.sched_watchdog(3_600_001), Err(Status::Invalid));
    check_eq!(Hv.sched_watchdog(u64::MAX), Err(Status::Invalid));
    for _ in 0..20 {
        ok!(Hv.sched_watchdog(2_000));
        cpu::spin_us(20_000);
    }
    ok!(Hv.sched_watchdog(300));
    ok!(Hv.sched_watchdog(0));
    cpu::spin_us(600_000);
    Ok(())
}

fn hungry() -> Outcome {
    ok!(Hv.sched_watchdog(50));
    if MAIL.to(0) == 1 {
        cpu::halt_forever();
    }
    loop {
        core::hint::spin_loop();
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(fed)?;
    for sleeps in [0, 1] {
        let child = Child::new(hungry)?;
        child.mail()?.tell(0, sleeps);
        child.start()?;
        child.expect_stop(reason::WATCHDOG)?;
        child.destroy()?;
    }
    Ok(())
}
