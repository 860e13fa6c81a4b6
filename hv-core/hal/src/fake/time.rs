// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock of the scripted machine: 1 GHz, moved by tests.

use super::machine::with;

/// TSC now.
pub fn now() -> u64 {
    with(|m| m.now)
}

/// TSC ticks in a millisecond.
pub fn khz() -> u64 {
    1_000_000
}

/// Arms the timer.
pub fn arm(deadline: u64) {
    with(|m| m.armed = Some(deadline));
}

/// Disarms it.
pub fn disarm() {
    with(|m| m.armed = None);
}
