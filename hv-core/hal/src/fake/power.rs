// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restart of the scripted machine: ends the test.

/// Ends the test.
pub fn restart() -> ! {
    panic!("the core restarted the machine");
}
