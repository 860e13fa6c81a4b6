// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU goes to a CPU that it should run on when that is free, and wrong
//! masks are refused.

use core::sync::atomic::Ordering;

use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, ok, skip};

use crate::child::Child;
use crate::host;

fn sleeper() -> Outcome {
    loop {
        hv_guest::apic::deadline(hv_guest::apic::SLEEP, hv_guest::cpu::tsc() + 100_000);
        let _ = Hv.sched_block();
        hv_guest::cpu::let_in();
        MAIL.from[0].fetch_add(1, Ordering::SeqCst);
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let cpus = ok!(host::host()).cpus;
    let child = Child::new(sleeper)?;
    for (domain, vcpu, mask, wanted) in [
        (child.id, 0, 0, Status::Invalid),
        (child.id, 0, 1 << 63, Status::Invalid),
        (0, 0, 1, Status::Invalid),
        (child.id, 1, 1, Status::NotFound),
        (4000, 0, 1, Status::NotFound),
    ] {
        check_eq!(Hv.vcpu_affinity_soft(domain, vcpu, mask), Err(wanted), "{domain} {mask:#x}");
    }
    if cpus < 2 {
        return Err(skip!("one CPU"));
    }
    // This CPU is busy with the runner; the other one is idle.
    child.start()?;
    child.wait_for(0, 5)?;
    ok!(Hv.vcpu_affinity_soft(child.id, 0, 2));
    let seen = child.mail()?.from(0);
    child.wait_for(0, seen + 5)?;
    check_eq!(ok!(host::vcpu(child.id, 0)).cpu, 1);
    // Not what it should have, but free: better than to wait here.
    ok!(Hv.vcpu_affinity_soft(child.id, 0, 1));
    let seen = child.mail()?.from(0);
    child.wait_for(0, seen + 5)?;
    check!(ok!(host::vcpu(child.id, 0)).cpu == 1, "it waits for a busy CPU");
    child.destroy()
}
