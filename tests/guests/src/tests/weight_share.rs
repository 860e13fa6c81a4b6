// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two domains on one CPU get its time by weight, counted over a second.

use core::sync::atomic::Ordering;

use hv_abi::Hypercall as H;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, apic, check, ok};

use crate::child::{Child, Spec};
use crate::host;

fn child() -> Outcome {
    loop {
        MAIL.from[0].fetch_add(1, Ordering::Relaxed);
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    // The last CPU: with more than one, the runner is not on it.
    let last = ok!(host::host()).cpus - 1;
    let make = |weight| -> Outcome<Child> {
        let child = Child::with(&Spec { weight, ..Spec::new(child) })?;
        ok!(call(H::VcpuAffinity { domain: child.id, vcpu: 0, cpus: 1 << last }));
        Ok(child)
    };
    let (light, heavy) = (make(128)?, make(512)?);
    light.start()?;
    heavy.start()?;
    apic::sleep_us(50_000);
    let before = (light.info()?.run_ns, heavy.info()?.run_ns);
    apic::sleep_us(1_000_000);
    let (light_ns, heavy_ns) = (light.info()?.run_ns - before.0, heavy.info()?.run_ns - before.1);
    let percent = heavy_ns * 100 / light_ns.max(1);
    check!((250..=650).contains(&percent), "4:1 by weight, {percent}:100 by time");
    let sum = light_ns + heavy_ns;
    check!(sum > 600_000_000 && sum < 1_400_000_000, "{sum} ns of 1 s were used");
    // The same weight from now on.
    ok!(call(H::DomainWeight { domain: light.id, weight: 512, cap: 0 }));
    apic::sleep_us(100_000);
    let before = (light.info()?.run_ns, heavy.info()?.run_ns);
    apic::sleep_us(600_000);
    let (light_ns, heavy_ns) = (light.info()?.run_ns - before.0, heavy.info()?.run_ns - before.1);
    let percent = heavy_ns * 100 / light_ns.max(1);
    check!((65..=150).contains(&percent), "1:1 by weight, {percent}:100 by time");
    light.destroy()?;
    heavy.destroy()
}
