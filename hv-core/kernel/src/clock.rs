// SPDX-License-Identifier: MIT OR Apache-2.0
//! TSC ticks and nanoseconds, and the time of day that the control domain
//! tells.

use core::sync::atomic::{AtomicU64, Ordering};
use hv_hal::time;

/// TSC when the core started.
static STARTED: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds since 1970 at TSC 0, or 0 when nobody told yet.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Notes the start; called once, early.
pub fn start() {
    STARTED.store(time::now(), Ordering::Relaxed);
}

/// Nanoseconds in this many TSC ticks.
pub fn nanoseconds(ticks: u64) -> u64 {
    let khz = u128::from(time::khz().max(1));
    u64::try_from(u128::from(ticks) * 1_000_000 / khz).unwrap_or(u64::MAX)
}

/// TSC ticks in this many microseconds.
pub fn ticks_of_us(us: u64) -> u64 {
    us.saturating_mul(time::khz()) / 1000
}

/// Nanoseconds since the core started.
pub fn uptime_ns() -> u64 {
    nanoseconds(time::now().saturating_sub(STARTED.load(Ordering::Relaxed)))
}

/// Sets the time of day: nanoseconds since 1970, now.
pub fn set_wallclock(now_ns: u64) {
    let at_zero = now_ns.saturating_sub(nanoseconds(time::now()));
    EPOCH.store(at_zero, Ordering::Relaxed);
}

/// Time of day in nanoseconds since 1970, or 0.
pub fn wallclock() -> u64 {
    match EPOCH.load(Ordering::Relaxed) {
        0 => 0,
        at_zero => at_zero.saturating_add(nanoseconds(time::now())),
    }
}
