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

/// Runs until the second's time is within `range` percent of the first's, summed up from now on;
/// for ten windows of `us` at the most. On a host that is busy itself, a stretch in which the CPU
/// was taken away is charged to whoever was on it and evens out later: one window is not enough.
fn settle(
    light: &Child,
    heavy: &Child,
    us: u64,
    range: core::ops::RangeInclusive<u64>,
) -> Outcome<u64> {
    let before = (light.info()?.run_ns, heavy.info()?.run_ns);
    let mut percent = 0;
    for _ in 0..10 {
        apic::sleep_us(us);
        let light_ns = light.info()?.run_ns - before.0;
        let heavy_ns = heavy.info()?.run_ns - before.1;
        percent = heavy_ns * 100 / light_ns.max(1);
        if range.contains(&percent) {
            break;
        }
    }
    Ok(percent)
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
    let percent = settle(&light, &heavy, 1_000_000, 300..=500)?;
    check!((300..=500).contains(&percent), "4:1 by weight, {percent}:100 by time");
    // The same weight from now on.
    ok!(call(H::DomainWeight { domain: light.id, weight: 512, cap: 0 }));
    apic::sleep_us(100_000);
    let percent = settle(&light, &heavy, 600_000, 80..=125)?;
    check!((80..=125).contains(&percent), "1:1 by weight, {percent}:100 by time");
    light.destroy()?;
    heavy.destroy()
}
