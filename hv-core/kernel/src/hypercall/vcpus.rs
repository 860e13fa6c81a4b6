// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on single vCPUs.

use crate::clock;
use crate::domain::{Domain, table};
use crate::guest_memory;
use crate::outcome::Answer;
use crate::sched;
use crate::vcpu::{Vcpu, signal};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::vcpu::{VcpuContext, VcpuInfo, VcpuRunState, run_state as state};
use hv_hal::cpu;

fn find(domain: &Domain, vcpu: u64) -> Result<&Vcpu, Status> {
    usize::try_from(vcpu).ok().and_then(|i| domain.vcpus.get(i)).ok_or(Status::NotFound)
}

/// A guest whose vCPUs don't run and won't until the caller lets them.
fn resting(domain: u64) -> Result<Arc<Domain>, Status> {
    let domain = table::named(domain)?;
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    if domain.runnable() || crate::domain::run::any_running(&domain) {
        return Err(Status::State);
    }
    Ok(domain)
}

/// VcpuSetContext.
pub fn set_context(caller: &Domain, domain: u64, vcpu: u64, gpa: u64) -> Answer {
    let domain = resting(domain)?;
    let vcpu = find(&domain, vcpu)?;
    let context: VcpuContext = guest_memory::read(caller, gpa)?;
    if context.reserved != 0 || context.online > 1 {
        return Err(Status::Invalid);
    }
    let mut guard = vcpu.core();
    let core = guard.as_mut().ok_or(Status::Dying)?;
    if let Err(field) = core.hw.set_context(&context) {
        log::warn!("d{}: vCPU {}: {field} can't be set so", domain.id, vcpu.index);
        return Err(Status::Invalid);
    }
    core.waits_for_sipi = context.online == 0;
    (core.halted, core.wait_until) = (false, crate::vcpu::NEVER);
    let state = match context.online {
        1 => state::STOPPED,
        _ => state::OFFLINE,
    };
    vcpu.set_state(state);
    Ok(0)
}

/// VcpuGetContext.
pub fn get_context(caller: &Domain, domain: u64, vcpu: u64, gpa: u64) -> Answer {
    let domain = resting(domain)?;
    let vcpu = find(&domain, vcpu)?;
    let guard = vcpu.core();
    let core = guard.as_ref().ok_or(Status::Dying)?;
    let mut context = core.hw.context();
    context.online = u32::from(!core.waits_for_sipi);
    guest_memory::write(caller, gpa, &context)?;
    Ok(0)
}

/// The state as others shall see it: one that still waits in a queue of a
/// domain that does not run won't come on a CPU either.
fn shown_state(domain: &Domain, vcpu: &Vcpu) -> u32 {
    match vcpu.state() {
        state::READY if !domain.runnable() => state::STOPPED,
        state => state,
    }
}

/// CPUs there are, one bit each.
fn there() -> u64 {
    match cpu::count() {
        n if n >= 64 => u64::MAX,
        n => (1u64 << n) - 1,
    }
}

/// VcpuInfo.
pub fn info(caller: &Domain, domain: u64, vcpu: u64, gpa: u64) -> Answer {
    let domain = table::named(domain)?;
    let vcpu = find(&domain, vcpu)?;
    let info = VcpuInfo {
        state: shown_state(&domain, vcpu),
        cpu: vcpu.last_cpu().0,
        affinity: vcpu.affinity.load(Ordering::Relaxed),
        run_ns: clock::nanoseconds(vcpu.times.run.load(Ordering::Relaxed)),
        wait_ns: clock::nanoseconds(vcpu.times.wait.load(Ordering::Relaxed)),
        exits: vcpu.trace.counts(),
    };
    guest_memory::write(caller, gpa, &info)?;
    Ok(0)
}

/// VcpuAffinity.
pub fn affinity(domain: u64, vcpu: u64, cpus: u64) -> Answer {
    let domain = table::named(domain)?;
    let vcpu = find(&domain, vcpu)?;
    if domain.is_control() || cpus & there() == 0 {
        return Err(Status::Invalid);
    }
    vcpu.affinity.store(cpus, Ordering::SeqCst);
    // It looks before each entry; one that is in a guest is fetched out.
    if let Some(on) = vcpu.running_on() {
        cpu::kick(on);
    }
    Ok(0)
}

/// TraceRead.
pub fn trace(caller: &Domain, domain: u64, vcpu: u64, gpa: u64) -> Answer {
    let domain = table::named(domain)?;
    let vcpu = find(&domain, vcpu)?;
    guest_memory::write(caller, gpa, &vcpu.trace.latest())?;
    Ok(0)
}

/// A vCPU of the caller or, for the control domain, of any guest. The control
/// domain's own start and stop as a machine's CPUs do.
fn guests(caller: &Arc<Domain>, domain: u64) -> Result<Arc<Domain>, Status> {
    let domain = super::about(caller, domain)?;
    match (domain.is_control(), domain.is_dying()) {
        (true, _) => Err(Status::Invalid),
        (_, true) => Err(Status::Dying),
        _ => Ok(domain),
    }
}

/// VcpuStart.
pub fn start(caller: &Arc<Domain>, domain: u64, vcpu: u64) -> Answer {
    let domain = guests(caller, domain)?;
    let vcpu = find(&domain, vcpu)?;
    if !vcpu.is_offline() {
        return Err(Status::State);
    }
    vcpu.signals.fetch_or(signal::START, Ordering::SeqCst);
    sched::notify(&domain, vcpu.index as usize);
    Ok(0)
}

/// VcpuStop.
pub fn stop(caller: &Arc<Domain>, domain: u64, vcpu: u64) -> Answer {
    let domain = guests(caller, domain)?;
    let vcpu = find(&domain, vcpu)?;
    if vcpu.is_offline() {
        return Err(Status::State);
    }
    vcpu.signals.fetch_or(signal::STOP, Ordering::SeqCst);
    sched::notify(&domain, vcpu.index as usize);
    Ok(0)
}

/// VcpuRunState.
pub fn run_state(caller: &Arc<Domain>, domain: u64, vcpu: u64, gpa: u64) -> Answer {
    let domain = super::about(caller, domain)?;
    let vcpu = find(&domain, vcpu)?;
    let mut state = VcpuRunState {
        state: shown_state(&domain, vcpu),
        run_ns: clock::nanoseconds(vcpu.times.run.load(Ordering::Relaxed)),
        wait_ns: clock::nanoseconds(vcpu.times.wait.load(Ordering::Relaxed)),
        ..VcpuRunState::default()
    };
    // How the host's CPUs are used is none of a guest's business.
    if caller.is_control() {
        state.cpu = vcpu.last_cpu().0;
        state.affinity = vcpu.affinity.load(Ordering::Relaxed);
        state.affinity_soft = vcpu.affinity_soft.load(Ordering::Relaxed);
    }
    guest_memory::write(caller, gpa, &state)?;
    Ok(0)
}

/// VcpuAffinitySoft.
pub fn affinity_soft(domain: u64, vcpu: u64, cpus: u64) -> Answer {
    let domain = table::named(domain)?;
    let vcpu = find(&domain, vcpu)?;
    if domain.is_control() || cpus & there() == 0 {
        return Err(Status::Invalid);
    }
    // Looked at when it is placed next.
    vcpu.affinity_soft.store(cpus, Ordering::SeqCst);
    Ok(0)
}
