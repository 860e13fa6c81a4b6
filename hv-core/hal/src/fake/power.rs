// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restart of the scripted machine: ends the test.

/// Nothing is kept: a panic ends the test.
pub fn restart_on_panic(_restart: bool) {}

/// Ends the test.
pub fn give_up() -> ! {
    restart()
}

/// Ends the test.
pub fn restart() -> ! {
    panic!("the core restarted the machine");
}
