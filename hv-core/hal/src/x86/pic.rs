// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two 8259 interrupt controllers: moved away from the exceptions, then
//! masked. The control domain finds them so and may do as it likes; their
//! output reaches no CPU, as the local APICs keep LINT0 masked.
// UNSAFETY: port I/O to interrupt controllers.
#![allow(unsafe_code)]

use x86_64::instructions::port::Port;

/// Where the 16 inputs point: vectors the core ignores when they are not in
/// service in the local APIC.
const BASE: u8 = 0xe0;

/// Initializes and masks both.
pub(super) fn mask() {
    for (command, base, wiring) in [(0x20u16, BASE, 4u8), (0xa0, BASE + 8, 2)] {
        let mut command_port: Port<u8> = Port::new(command);
        let mut data_port: Port<u8> = Port::new(command + 1);
        // SAFETY: after this sequence (8259A data sheet, ICW1 to ICW4, OCW1)
        // the controller raises nothing.
        unsafe {
            command_port.write(0x11);
            data_port.write(base);
            data_port.write(wiring);
            data_port.write(0x01);
            data_port.write(0xff);
        }
    }
}
