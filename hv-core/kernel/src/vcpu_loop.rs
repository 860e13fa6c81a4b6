// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop each CPU runs for ever: choose a vCPU, enter it, act on what came
//! back. Only here does a vCPU get on or off a CPU.

use crate::domain::{Stop, run, table};
use crate::event;
use crate::exit;
use crate::lapic::Bits256;
use crate::logging;
use crate::outcome::Outcome;
use crate::per_cpu::{self, PerCpu};
use crate::sched::{self, Handle, time as sched_time, watchdog as late};
use crate::vcpu::{Core, NEVER, Vcpu, signal};
use crate::watchdog;
use core::sync::atomic::Ordering;
use hv_abi::DOM_CONTROL;
use hv_abi::event::virq;
use hv_abi::vcpu::run_state;
use hv_hal::addr::CpuId;
use hv_hal::exit::{Event, Exit};
use hv_hal::{cpu, irq, time};

/// Why a vCPU left its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// It waits for an interrupt, or for this TSC.
    Wait(u64),
    /// It could go on; another shall run first.
    Ready,
    /// It waits for SIPI.
    Offline,
    /// Its domain is paused, stopped or dying.
    Stopped,
}

/// Runs vCPUs on this CPU, for ever.
pub fn run_forever(here: CpuId) -> ! {
    let Some(cpu) = per_cpu::of(here) else {
        // The table has an entry for each CPU the hal started.
        cpu::halt_all()
    };
    loop {
        once(here, cpu);
        if run::is_over() {
            run::give_up();
        }
    }
}

/// One turn: a vCPU until it leaves, or an idle moment.
pub fn once(here: CpuId, cpu: &PerCpu) {
    if logging::take_news() {
        event::raise_control(virq::LOG);
    }
    if late::look() {
        return;
    }
    match sched::pick(here) {
        Some(handle) => run_one(&handle, cpu),
        None => {
            sched_time::idle(cpu);
            take_interrupts(here);
        }
    }
}

fn run_one(handle: &Handle, cpu: &PerCpu) {
    let Some(vcpu) = handle.vcpu() else { return };
    let leave = {
        let mut guard = vcpu.core();
        match guard.as_mut() {
            None => Leave::Stopped,
            Some(core) => {
                cpu.set_running(Some(vcpu.domain));
                core.hw.load();
                if core.assist.posting {
                    core.hw.receive(&vcpu.posted);
                }
                let leave = stay(handle, vcpu, core, cpu);
                core.hw.unload();
                cpu.set_running(None);
                leave
            }
        }
    };
    sched_time::charge(handle, vcpu);
    match leave {
        Leave::Ready => {
            vcpu.set_state(run_state::READY);
            sched::enqueue(handle.clone(), false);
        }
        Leave::Stopped => {
            vcpu.set_state(run_state::STOPPED);
            // An unpause between our look and the new state saw a running
            // vCPU and left it alone.
            if handle.domain.runnable() {
                sched::wake(&handle.domain, handle.index, run_state::STOPPED);
            }
        }
        Leave::Offline => {
            vcpu.set_state(run_state::OFFLINE);
            sched::notify(&handle.domain, handle.index);
        }
        Leave::Wait(at) => {
            sched_time::block(handle, vcpu, cpu, at);
            if vcpu.has_news() || !handle.domain.runnable() {
                sched::wake(&handle.domain, handle.index, run_state::BLOCKED);
            }
        }
    }
}

/// Enters the vCPU again and again until it has to leave.
fn stay(handle: &Handle, vcpu: &Vcpu, core: &mut Core, cpu: &PerCpu) -> Leave {
    let slice = crate::clock::ticks_of_us(sched_time::SLICE_US);
    let mut slice_end = time::now().saturating_add(slice);
    loop {
        if late::look() {
            return Leave::Ready;
        }
        if !handle.domain.runnable() {
            return Leave::Stopped;
        }
        if let Some(leave) = before_entry(handle, vcpu, core) {
            return leave;
        }
        // Where it must not be any more it leaves, whoever changed that and
        // in whichever queue it was then.
        let here = vcpu.last_cpu().0;
        let misplaced = here < 64 && vcpu.affinity.load(Ordering::SeqCst) >> here & 1 == 0;
        if misplaced || sched_time::should_switch(handle, vcpu, cpu, slice_end) {
            return Leave::Ready;
        }
        let now = time::now();
        if now >= slice_end {
            slice_end = now.saturating_add(slice);
            sched_time::charge(handle, vcpu);
            if let Some(until) = sched_time::capped_until(handle) {
                return Leave::Wait(until);
            }
        }
        let alone =
            cpu.ready.load(Ordering::SeqCst) == 0 && handle.domain.cap.load(Ordering::Relaxed) == 0;
        // The timer is always armed: nobody keeps a CPU for ever.
        watchdog::look(cpu::current(), cpu, now);
        let slice_at = if alone { watchdog::next(cpu) } else { slice_end };
        let timer_at = core.lapic.deadline().unwrap_or(NEVER);
        sched_time::arm(cpu, slice_at.min(timer_at));
        let came = enter(handle, vcpu, core, cpu);
        match exit::handle(handle, vcpu, core, came) {
            Outcome::Resume => {}
            Outcome::Block => (core.halted, core.waits_for_any) = (true, false),
            Outcome::Wait => (core.halted, core.waits_for_any) = (true, true),
            Outcome::Poll(until) => {
                (core.halted, core.waits_for_any, core.wait_until) = (true, true, until);
            }
            Outcome::Yield => {
                if sched_time::yield_to_others(handle, vcpu, cpu) {
                    return Leave::Ready;
                }
            }
            Outcome::Stop(reason, code) => {
                let stop = Stop { reason, code, vcpu: vcpu.index, rip: core.hw.rip() };
                run::stop(&handle.domain, stop);
                return Leave::Stopped;
            }
        }
    }
}

/// Takes what was posted, and decides whether there is anything to enter for.
fn before_entry(handle: &Handle, vcpu: &Vcpu, core: &mut Core) -> Option<Leave> {
    if vcpu.signals.load(Ordering::SeqCst) != 0 {
        take_signals(handle, vcpu, core);
    }
    if core.waits_for_sipi {
        return Some(Leave::Offline);
    }
    core.lapic.accept(vcpu.take_posted());
    core.lapic.poll_timer(time::now());
    if core.assist.delivery {
        hand_over(vcpu, core);
    }
    if core.halted {
        let open = core.waits_for_any || core.hw.rflags() >> 9 & 1 == 1;
        let due = open && core.is_due();
        let over = core.wait_until != NEVER && time::now() >= core.wait_until;
        if !due && !over && !core.hw.pending() {
            let timer = core.lapic.deadline().unwrap_or(NEVER);
            return Some(Leave::Wait(timer.min(core.wait_until)));
        }
        end_wait(handle, vcpu, core);
    }
    if !core.assist.delivery {
        offer_interrupt(core);
    }
    let generation = handle.domain.memory.flush.load(Ordering::SeqCst);
    if core.flushed != generation {
        core.flushed = generation;
        core.hw.flush();
    }
    None
}

/// Gives pending interrupts to the CPU, which delivers them by itself.
fn hand_over(vcpu: &Vcpu, core: &mut Core) {
    let vectors = core.lapic.hand_over();
    if vectors != Bits256::default() {
        // A mark is there before its vector is posted.
        core.hw.watch_ends(vcpu.levels());
        core.hw.request(vectors.0);
    }
}

/// Puts the most urgent interrupt in, or asks to hear when it can be.
fn offer_interrupt(core: &mut Core) {
    let tpr = core.hw.tpr();
    let Some(vector) = core.lapic.deliverable(tpr) else {
        match core.lapic.held_back(tpr) {
            Some(class) => core.hw.want_priority(class),
            None => core.hw.want_window(false),
        }
        return;
    };
    if core.hw.interruptible() {
        core.lapic.delivered(vector);
        core.hw.inject(Event::Interrupt(vector));
        let more = core.lapic.deliverable(core.hw.tpr()).is_some();
        core.hw.want_window(more);
    } else {
        core.hw.want_window(true);
    }
}

/// Its wait, for whatever, is over.
fn end_wait(handle: &Handle, vcpu: &Vcpu, core: &mut Core) {
    core.halted = false;
    core.wait_until = NEVER;
    if vcpu.polling.swap(false, Ordering::SeqCst) {
        handle.domain.ports.pollers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// INIT, SIPI and NMI from other vCPUs; start, stop and polled ports.
fn take_signals(handle: &Handle, vcpu: &Vcpu, core: &mut Core) {
    let signals = vcpu.signals.swap(0, Ordering::SeqCst);
    if signals & signal::POLL != 0 && vcpu.polling.load(Ordering::SeqCst) {
        end_wait(handle, vcpu, core);
    }
    if signals & signal::STOP != 0 {
        core.waits_for_sipi = true;
    }
    if signals & signal::START != 0 {
        core.waits_for_sipi = false;
    }
    if signals & signal::INIT != 0 {
        core.reset();
        end_wait(handle, vcpu, core);
        core.waits_for_sipi = true;
    }
    if signals & signal::SIPI != 0 && core.waits_for_sipi {
        core.hw.start_at((signals >> signal::SIPI_SHIFT) as u8);
        core.waits_for_sipi = false;
    }
    if signals & signal::NMI != 0 && !core.waits_for_sipi {
        if core.hw.pending() {
            // Something is on its way in; the NMI comes after the next exit.
            vcpu.signals.fetch_or(signal::NMI, Ordering::SeqCst);
        } else {
            core.hw.inject(Event::Nmi);
            // One that is blocked ends no HLT.
            core.halted &= !core.hw.pending();
        }
    }
}

fn enter(handle: &Handle, vcpu: &Vcpu, core: &mut Core, cpu: &PerCpu) -> Exit {
    // From here on a flusher waits for this CPU; what it changed before it
    // looked at `entries` is seen by the second look at the generation.
    cpu.entries.fetch_add(1, Ordering::SeqCst);
    let generation = handle.domain.memory.flush.load(Ordering::SeqCst);
    let came = if core.flushed == generation { core.hw.enter() } else { Exit::Handled };
    cpu.entries.fetch_add(1, Ordering::SeqCst);
    let hypercall = core.hw.reg(hv_hal::exit::gpr::RAX);
    vcpu.trace.record(&came, core.hw.rip(), hypercall);
    if came == Exit::Interrupt {
        sched_time::note_expired(cpu);
        take_interrupts(cpu::current());
    }
    came
}

/// Hands physical interrupts to the control domain's vCPU of this CPU.
fn take_interrupts(here: CpuId) {
    let mut control = None;
    irq::drain(&mut |vector, level| {
        if control.is_none() {
            control = table::get(DOM_CONTROL);
        }
        let Some(vcpu) = control.as_ref().and_then(|c| c.vcpus.get(here.0 as usize)) else {
            log::warn!(
                "interrupt {vector:#x} on CPU {}, where the control domain has no vCPU",
                here.0
            );
            if level {
                irq::end_level(vector);
            }
            return;
        };
        if level {
            vcpu.mark_level(vector);
        }
        vcpu.post(vector);
    });
    if let Some(control) = control {
        sched::notify(&control, here.0 as usize);
    }
}
