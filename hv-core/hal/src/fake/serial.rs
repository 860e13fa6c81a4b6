// SPDX-License-Identifier: MIT OR Apache-2.0
//! The serial line of the scripted machine: text in memory.

use super::machine::with;
use std::string::String;

/// Accepts every port.
pub fn init(_port: u16, _baud: u32) {}

/// Keeps the text.
pub fn write(bytes: &[u8]) {
    with(|m| m.serial.push_str(&String::from_utf8_lossy(bytes)));
}
