// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU runs only where its affinity lets it, also when that changes while
//! it runs.

use core::sync::atomic::Ordering;

use hv_abi::Hypercall as H;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, cpu, ok, skip};

use crate::child::Child;
use crate::host;

fn child() -> Outcome {
    loop {
        MAIL.from[0].fetch_add(1, Ordering::Relaxed);
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let cpus = u64::from(ok!(host::host()).cpus);
    if cpus < 2 {
        return Err(skip!("one CPU"));
    }
    let child = Child::new(child)?;
    child.start()?;
    for n in 0..6 {
        let home = n % cpus;
        ok!(call(H::VcpuAffinity { domain: child.id, vcpu: 0, cpus: 1 << home }));
        let there = cpu::wait_until(3000, || {
            let _ = call(H::SchedYield {});
            host::vcpu(child.id, 0).is_ok_and(|v| u64::from(v.cpu) == home)
        });
        let info = ok!(host::vcpu(child.id, 0));
        check!(there, "it is on CPU {}, may be on {home} only", info.cpu);
        let counted = child.mail()?.from(0);
        child.wait_for(0, counted + 1)?;
        check!(u64::from(ok!(host::vcpu(child.id, 0)).cpu) == home, "it moved away");
    }
    child.destroy()
}
