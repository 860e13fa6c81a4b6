// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPU a vCPU goes to, and what an idle CPU takes from others. A vCPU
//! is placed anew after each slice, so queues of busy CPUs even out as well.

use super::{Handle, cpus};
use crate::per_cpu;
use crate::vcpu::Vcpu;
use core::sync::atomic::Ordering;
use hv_hal::addr::CpuId;

/// CPU for a vCPU that turned ready: where it ran last if that is idle, else
/// an idle one, else the one with the fewest waiting.
pub fn place(vcpu: &Vcpu) -> CpuId {
    let affinity = vcpu.affinity.load(Ordering::Relaxed);
    let soft = vcpu.affinity_soft.load(Ordering::Relaxed);
    let last = vcpu.last_cpu();
    let cost = |id: CpuId| {
        let cpu = per_cpu::of(id)?;
        let waiting = u64::from(cpu.ready.load(Ordering::Relaxed)) * 2;
        let busy = u64::from(!cpu.idle.load(Ordering::Relaxed));
        let liked = id.0 < 64 && soft >> id.0 & 1 == 1;
        // In quarters: a CPU it should be on wins over one that is as busy,
        // staying over one that is no better.
        Some((waiting + busy) * 4 + u64::from(!liked) * 2 + u64::from(id != last))
    };
    cpus()
        .map(|(id, _)| id)
        .filter(|id| id.0 < 64 && affinity >> id.0 & 1 == 1)
        .min_by_key(|id| cost(*id))
        .unwrap_or(last)
}

/// Takes a ready vCPU from the queue that has the most.
pub fn steal(here: CpuId) -> Option<Handle> {
    let mut victims =
        cpus().filter(|(id, cpu)| *id != here && cpu.ready.load(Ordering::Relaxed) > 0);
    let longest = victims.next().map(|first| {
        victims.fold(first, |a, b| {
            let ready = |c: &per_cpu::PerCpu| c.ready.load(Ordering::Relaxed);
            if ready(b.1) > ready(a.1) { b } else { a }
        })
    })?;
    // A queue somebody works on right now is left alone.
    longest.1.queue.try_lock()?.take_for(here.0, longest.1)
}
