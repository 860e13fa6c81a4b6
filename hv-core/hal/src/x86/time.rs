// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time is the TSC; each CPU has one timer, on the core's own vector.
//!
//! The timer may be a TSC deadline or the APIC's one-shot counter, which can
//! neither wait for long nor be exact: an interrupt that comes too early is
//! answered by arming again, here. Who waits for a deadline looks at [`now`].

use super::clock::Clock;
use super::percpu::here;
use super::{apic, boot, cpu};
use crate::acpi::Machine;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Rates in kHz; 0 before [`init`].
static TSC_KHZ: AtomicU64 = AtomicU64::new(0);
static LAPIC_KHZ: AtomicU64 = AtomicU64::new(0);

/// Measurements made; the one that was disturbed least counts.
const TRIES: usize = 5;
/// How much of a second each takes: 1/100.
const FRACTION: u64 = 100;

/// The TSC now.
pub fn now() -> u64 {
    tsc::read()
}

mod tsc {
    // UNSAFETY: RDTSC.
    #![allow(unsafe_code)]

    /// Reads the TSC, not before earlier loads are done.
    pub(super) fn read() -> u64 {
        // SAFETY: every CPU with long mode has both instructions.
        unsafe {
            core::arch::x86_64::_mm_lfence();
            core::arch::x86_64::_rdtsc()
        }
    }
}

/// TSC ticks in a millisecond.
pub fn khz() -> u64 {
    TSC_KHZ.load(Relaxed)
}

/// Ticks of the local APIC's timer in a millisecond.
pub fn lapic_khz() -> u64 {
    LAPIC_KHZ.load(Relaxed)
}

/// Spins for so many microseconds; before the TSC's rate is known, as if it
/// were fast.
pub(super) fn spin_us(us: u64) {
    let khz = if khz() == 0 { 4_000_000 } else { khz() };
    let end = now().saturating_add(us.saturating_mul(khz) / 1000);
    while now() < end {
        core::hint::spin_loop();
    }
}

/// The three clocks at one moment, and how exactly that is one moment.
struct Reading {
    tsc: u64,
    reference: u64,
    lapic: u64,
    width: u64,
}

fn reading(clock: &Clock) -> Reading {
    let before = now();
    let reference = clock.read();
    let after = now();
    let lapic = u64::from(apic::timer_left());
    Reading { tsc: before + (after - before) / 2, reference, lapic, width: after - before }
}

/// Measures the TSC and the local APIC's timer against the best other clock.
pub(super) fn init(machine: &Machine) {
    let clock = Clock::find(machine);
    apic::timer_for_calibration(true);
    let best = (0..TRIES).map(|_| measure(&clock)).min_by_key(|m| m.2);
    apic::start_timer(0);
    apic::timer_for_calibration(false);
    let (measured, lapic, width) = best.unwrap_or_default();
    assert!(measured != 0 && lapic != 0, "the {} does not measure time", clock.name());
    let (khz, source) = stated(measured).unwrap_or((measured, clock.name()));
    TSC_KHZ.store(khz, Relaxed);
    LAPIC_KHZ.store(lapic, Relaxed);
    boot::note(format_args!(
        "time: TSC {khz} kHz by {source} ({measured} by {}, within {width} ticks), APIC timer {lapic} kHz",
        clock.name()
    ));
}

/// One measurement: kHz of the TSC, kHz of the APIC's timer, uncertainty.
fn measure(clock: &Clock) -> (u64, u64, u64) {
    let ticks = clock.hz() / FRACTION;
    apic::start_timer(u32::MAX);
    let first = reading(clock);
    let mut last = reading(clock);
    while (last.reference.wrapping_sub(first.reference) & clock.mask()) < ticks {
        core::hint::spin_loop();
        last = reading(clock);
    }
    let reference = last.reference.wrapping_sub(first.reference) & clock.mask();
    let rate = |ticks: u64| {
        let hz = u128::from(ticks) * u128::from(clock.hz()) / u128::from(reference.max(1));
        (hz / 1000) as u64
    };
    let lapic = first.lapic.saturating_sub(last.lapic);
    (rate(last.tsc.saturating_sub(first.tsc)), rate(lapic), first.width + last.width)
}

/// The rate that CPUID states, if it is near what was measured.
fn stated(measured: u64) -> Option<(u64, &'static str)> {
    let near = |khz: &u64| khz.abs_diff(measured) <= measured / 100;
    let [max, ..] = cpu::cpuid(0, 0);
    if max >= 0x15 {
        let [denominator, numerator, crystal, _] = cpu::cpuid(0x15, 0).map(u64::from);
        let hz = (crystal * numerator).checked_div(denominator);
        if let Some(khz) = hz.map(|hz| hz / 1000).filter(near) {
            return Some((khz, "CPUID 15h"));
        }
    }
    if cpu::features().hypervisor && cpu::cpuid(0x4000_0000, 0)[0] >= 0x4000_0010 {
        let khz = cpu::cpuid(0x4000_0010, 0)[0].into();
        if near(&khz) {
            return Some((khz, "the hypervisor"));
        }
    }
    None
}

/// Arms this CPU's timer; a deadline that has passed fires at once.
pub fn arm(deadline: u64) {
    here().deadline.store(deadline, Relaxed);
    program(deadline);
}

/// Disarms it.
pub fn disarm() {
    here().deadline.store(u64::MAX, Relaxed);
    if cpu::features().tsc_deadline {
        apic::set_deadline(0);
    } else {
        apic::start_timer(0);
    }
}

fn program(deadline: u64) {
    if cpu::features().tsc_deadline {
        // 0 would disarm.
        apic::set_deadline(deadline.max(1));
        return;
    }
    let ticks = u128::from(deadline.saturating_sub(now()));
    let count = ticks * u128::from(lapic_khz()) / u128::from(khz().max(1)) + 1;
    apic::start_timer(u32::try_from(count).unwrap_or(u32::MAX));
}

/// The timer's interrupt: arms again if it came too early.
pub(super) fn fired() {
    let deadline = here().deadline.load(Relaxed);
    if deadline == u64::MAX {
        return;
    }
    if now() < deadline {
        program(deadline);
    } else {
        here().deadline.store(u64::MAX, Relaxed);
    }
}
