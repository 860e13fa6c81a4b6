// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines into the core's log.

use core::fmt::{Arguments, Write};

use hv_abi::Hypercall;

use crate::hypercall::{call, gpa};

/// One call's text; a longer line is cut.
struct Line {
    bytes: [u8; 200],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Writes one line.
pub fn print(text: Arguments<'_>) {
    let mut line = Line { bytes: [0; 200], len: 0 };
    // Writing cuts instead of failing.
    let _ = line.write_fmt(text);
    // There is nowhere to say that the log could not be written.
    let _ = call(Hypercall::ConsoleWrite { gpa: gpa(&line.bytes), len: line.len as u64 });
}

/// Writes one line to the core's log.
#[macro_export]
macro_rules! println {
    ($($text:tt)+) => { $crate::console::print(format_args!($($text)+)) };
}
