// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slices, sleepers, caps and the account of time.

use super::{Handle, wake};
use crate::clock::ticks_of_us;
use crate::per_cpu::PerCpu;
use crate::vcpu::{NEVER, Vcpu};
use crate::watchdog;
use core::sync::atomic::Ordering;
use hv_abi::vcpu::run_state;
use hv_hal::{cpu, time};

/// A vCPU runs this long while others wait.
pub const SLICE_US: u64 = 5_000;
/// Caps are kept over periods of this length.
const CAP_PERIOD_US: u64 = 100_000;

/// Wakes those whose time has come.
pub fn wake_sleepers(cpu: &PerCpu) {
    let now = time::now();
    while cpu.next_wake.load(Ordering::SeqCst) <= now {
        let due = cpu.queue.lock().due(now, cpu);
        let Some(handle) = due else { return };
        if let Some(vcpu) = handle.vcpu() {
            vcpu.wake_at.store(NEVER, Ordering::SeqCst);
        }
        wake(&handle.domain, handle.index, run_state::BLOCKED);
    }
}

/// Adds the time since the last charge to a running vCPU's account.
pub fn charge(handle: &Handle, vcpu: &Vcpu) {
    let now = time::now();
    let ran = now.saturating_sub(vcpu.times.since.swap(now, Ordering::Relaxed));
    vcpu.times.run.fetch_add(ran, Ordering::Relaxed);
    let weight = u64::from(handle.domain.weight.load(Ordering::Relaxed).max(1));
    vcpu.vruntime.fetch_add(ran.saturating_mul(256) / weight, Ordering::Relaxed);
    if handle.domain.cap.load(Ordering::Relaxed) > 0 {
        let period = now / ticks_of_us(CAP_PERIOD_US).max(1);
        let last = handle.domain.cap_period.swap(period, Ordering::Relaxed);
        if last != period {
            // What was used above the cap is carried over.
            let left = carried(handle, period.wrapping_sub(last));
            handle.domain.cap_used.store(left, Ordering::Relaxed);
        }
        handle.domain.cap_used.fetch_add(ran, Ordering::Relaxed);
    }
}

/// Ticks a capped domain may use in a period.
fn allowance(handle: &Handle) -> u64 {
    let cap = u64::from(handle.domain.cap.load(Ordering::Relaxed));
    (ticks_of_us(CAP_PERIOD_US).saturating_mul(cap) / 100).max(1)
}

/// What counts as used so many periods after the last account.
fn carried(handle: &Handle, periods: u64) -> u64 {
    let used = handle.domain.cap_used.load(Ordering::Relaxed);
    used.saturating_sub(allowance(handle).saturating_mul(periods))
}

/// When the domain has used up its cap: the TSC at which the period begins in
/// which it has something left.
pub fn capped_until(handle: &Handle) -> Option<u64> {
    if handle.domain.cap.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let length = ticks_of_us(CAP_PERIOD_US).max(1);
    let period = time::now() / length;
    let last = handle.domain.cap_period.load(Ordering::Relaxed);
    let owed = carried(handle, period.wrapping_sub(last)) / allowance(handle);
    (owed > 0).then(|| period.saturating_add(owed).saturating_mul(length))
}

/// Puts a vCPU to sleep on this CPU: blocked, until notified or until `at`.
/// False when it was woken in the very moment and is ready again elsewhere.
pub fn block(handle: &Handle, vcpu: &Vcpu, cpu: &PerCpu, at: u64) {
    if at != NEVER {
        vcpu.wake_at.store(at, Ordering::SeqCst);
        cpu.queue.lock().sleep(at, handle.clone(), cpu);
    }
    vcpu.set_state(run_state::BLOCKED);
}

/// Arms this CPU's timer for the earliest of what it must not miss; leaves
/// it alone when it is armed for that already.
pub fn arm(cpu: &PerCpu, at: u64) {
    let at = at.min(cpu.next_wake.load(Ordering::SeqCst)).min(super::watchdog::next());
    let wanted = if at == NEVER { 0 } else { at.max(1) };
    let armed = cpu.armed.load(Ordering::Relaxed);
    if wanted != armed {
        cpu.armed.store(wanted, Ordering::Relaxed);
        match wanted {
            0 => time::disarm(),
            at => time::arm(at),
        }
    }
}

/// The timer's interrupt came: it is no longer armed.
pub fn note_expired(cpu: &PerCpu) {
    let armed = cpu.armed.load(Ordering::Relaxed);
    if armed != 0 && armed <= time::now() {
        cpu.armed.store(0, Ordering::Relaxed);
    }
}

/// The CPU the caller is on has to choose again: its slice is over and
/// another is owed more, or it was asked to look.
pub fn should_switch(handle: &Handle, vcpu: &Vcpu, cpu: &PerCpu, slice_end: u64) -> bool {
    let now = time::now();
    // A sleeper whose time has come competes with the one that runs.
    if cpu.next_wake.load(Ordering::SeqCst) <= now {
        wake_sleepers(cpu);
    }
    let asked = cpu.resched.swap(false, Ordering::SeqCst);
    let over = now >= slice_end;
    if !asked && !over {
        return false;
    }
    let ready = cpu.ready.load(Ordering::SeqCst);
    if ready == 0 {
        return false;
    }
    charge(handle, vcpu);
    let own = vcpu.vruntime.load(Ordering::Relaxed);
    let least = cpu.queue.lock().least_ready().unwrap_or(u64::MAX);
    // In the middle of a slice only one that is clearly owed more breaks in.
    let margin = if over { 0 } else { ticks_of_us(500) };
    least.saturating_add(margin) <= own
}

/// A vCPU gives way: it goes behind the next one that waits. False when none
/// does, so that it can just go on.
pub fn yield_to_others(handle: &Handle, vcpu: &Vcpu, cpu: &PerCpu) -> bool {
    if cpu.ready.load(Ordering::SeqCst) == 0 {
        return false;
    }
    charge(handle, vcpu);
    let Some(least) = cpu.queue.lock().least_ready() else {
        return false;
    };
    let behind = least.saturating_add(1);
    vcpu.vruntime.fetch_max(behind, Ordering::Relaxed);
    true
}

/// An idle moment: this CPU sleeps until something comes.
pub fn idle(cpu: &PerCpu) {
    cpu.idle.store(true, Ordering::SeqCst);
    let nothing = cpu.ready.load(Ordering::SeqCst) == 0 && !cpu.resched.load(Ordering::SeqCst);
    if nothing {
        arm(cpu, watchdog::next(cpu));
        cpu::idle();
        note_expired(cpu);
        watchdog::look(cpu::current(), cpu, time::now());
    }
    cpu.idle.store(false, Ordering::SeqCst);
}
