// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pausing, stopping and letting run.

use super::{Domain, Stop, table};
use crate::event;
use crate::sched;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use hv_abi::domain::reason;
use hv_abi::event::virq;
use hv_abi::{DOM_CONTROL, Status};
use hv_hal::{cpu, power};

/// Looks at a vCPU between two kicks of its CPU.
const KICK_AGAIN: u32 = 100_000;

/// A CPU has one of its vCPUs now.
pub fn any_running(domain: &Domain) -> bool {
    domain.vcpus.iter().any(|v| v.running_on().is_some())
}

/// Kicks its vCPUs off their CPUs and returns when none runs, or when somebody
/// let the domain run again meanwhile. Not for the caller's own domain.
pub fn wait_until_none_runs(domain: &Domain) {
    let here = cpu::current();
    for vcpu in &domain.vcpus {
        let mut rounds = 0u32;
        while let Some(cpu) = vcpu.running_on() {
            if cpu == here {
                // The caller itself: it stops when it comes out.
                break;
            }
            if domain.runnable() {
                return;
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
    if domain.is_control() {
        OVER.store(true, Ordering::SeqCst);
    }
    let here = cpu::current();
    for other in domain.vcpus.iter().filter_map(|v| v.running_on()) {
        if other != here {
            cpu::kick(other);
        }
    }
    event::raise_control(virq::DOMAIN_STATE);
}

/// The control domain has stopped.
static OVER: AtomicBool = AtomicBool::new(false);

/// The control domain has stopped: the machine is left to nobody. Each CPU
/// asks when a vCPU has left it, and ends the machine by [`give_up`].
pub fn is_over() -> bool {
    OVER.load(Ordering::Relaxed)
}

/// Ends the machine whose control domain has stopped: without it there are no
/// devices and no tools, and its watchdog ran out for just this.
pub fn give_up() -> ! {
    let stop = table::get(DOM_CONTROL).and_then(|control| *control.stopped.lock());
    let Stop { reason: why, code, vcpu, rip } = stop.unwrap_or_default();
    log::error!(
        "the control domain stopped: reason {why}, code {code:#x}, vCPU {vcpu} at {rip:#x}"
    );
    match why {
        // It can't be turned off from here.
        reason::POWEROFF => cpu::halt_all(),
        reason::REBOOT => power::restart(),
        _ => power::give_up(),
    }
}

/// A new world for a test, in which nothing has stopped.
#[cfg(any(test, feature = "testing"))]
pub fn begin_anew() {
    OVER.store(false, Ordering::Relaxed);
}
