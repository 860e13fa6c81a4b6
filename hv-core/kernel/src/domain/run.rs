// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pausing, stopping and letting run.

use super::{Domain, Stop};
use crate::event;
use crate::sched;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::event::virq;
use hv_hal::cpu;

/// Looks at a vCPU between two kicks of its CPU.
const KICK_AGAIN: u32 = 100_000;

/// A CPU has one of its vCPUs now.
pub fn any_running(domain: &Domain) -> bool {
    domain.vcpus.iter().any(|v| v.running_on().is_some())
}

/// Kicks its vCPUs off their CPUs and returns when none runs. The caller has
/// made sure that none starts again. Not for the caller's own domain.
pub fn wait_until_none_runs(domain: &Domain) {
    let here = cpu::current();
    for vcpu in &domain.vcpus {
        let mut rounds = 0u32;
        while let Some(cpu) = vcpu.running_on() {
            if cpu == here {
                // The caller itself: it stops when it comes out.
                break;
            }
            // A CPU that is kicked without a break would never get further
            // than its handler.
            if rounds.is_multiple_of(KICK_AGAIN) {
                cpu::kick(cpu);
            }
            rounds = rounds.wrapping_add(1);
            cpu::relax();
        }
    }
}

/// Holds one more pause.
pub fn pause(domain: &Domain) -> Result<(), Status> {
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    domain
        .pauses
        .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_add(1))
        .map_err(|_| Status::Limit)?;
    wait_until_none_runs(domain);
    Ok(())
}

/// Takes one pause back; with the last, its vCPUs may run.
pub fn unpause(domain: &Arc<Domain>) -> Result<(), Status> {
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    let before = domain
        .pauses
        .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .map_err(|_| Status::State)?;
    domain.new.store(false, Ordering::Relaxed);
    if before == 1 {
        sched::resume(domain);
    }
    Ok(())
}

/// Stops the domain for good and tells the control domain. The first reason
/// is kept. Called on a CPU that runs one of its vCPUs.
pub fn stop(domain: &Domain, stop: Stop) {
    {
        let mut stopped = domain.stopped.lock();
        if stopped.is_some() {
            return;
        }
        *stopped = Some(stop);
    }
    domain.is_stopped.store(true, Ordering::SeqCst);
    let here = cpu::current();
    for other in domain.vcpus.iter().filter_map(|v| v.running_on()) {
        if other != here {
            cpu::kick(other);
        }
    }
    event::raise_control(virq::DOMAIN_STATE);
}
