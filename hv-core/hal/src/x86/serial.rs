// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's serial line: a 16550 UART, polled.
//!
//! Writers share one lock; a panic breaks it ([`break_lock`]), for a half
//! line of another CPU is better than no reason. A port without a UART
//! swallows everything.
// UNSAFETY: port I/O to the UART that the core owns.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use spin::Mutex;
use x86_64::instructions::port::Port;

/// COM1.
const DEFAULT_PORT: u16 = 0x3f8;
/// The UART's clock divided by 16.
const MAX_BAUD: u32 = 115_200;
/// Polls for room in the transmitter before a byte is given up: well above
/// the time of one byte at 9600 baud.
const PATIENCE: u32 = 1_000_000;

/// Offsets of the UART's registers.
mod register {
    pub const DATA: u16 = 0;
    pub const INTERRUPT_ENABLE: u16 = 1;
    pub const FIFO_CONTROL: u16 = 2;
    pub const LINE_CONTROL: u16 = 3;
    pub const MODEM_CONTROL: u16 = 4;
    pub const LINE_STATUS: u16 = 5;
    pub const SCRATCH: u16 = 7;
}

/// The port in use; 0 = none.
static PORT: AtomicU16 = AtomicU16::new(0);
/// The administrator wants no serial line.
static SILENT: AtomicBool = AtomicBool::new(false);
static LOCK: Mutex<()> = Mutex::new(());

fn get(offset: u16) -> u8 {
    let port = PORT.load(Ordering::Relaxed) + offset;
    // SAFETY: reading a UART register has no effect on memory.
    unsafe { Port::new(port).read() }
}

fn put(offset: u16, value: u8) {
    let port = PORT.load(Ordering::Relaxed) + offset;
    // SAFETY: a UART of this kind does no DMA; it can't reach memory.
    unsafe { Port::new(port).write(value) }
}

/// Takes the UART at `port` (0: none) into use, 8N1 at `baud`.
pub fn init(port: u16, baud: u32) {
    let _guard = LOCK.lock();
    PORT.store(port, Ordering::Relaxed);
    SILENT.store(port == 0, Ordering::Relaxed);
    if port == 0 {
        return;
    }
    put(register::SCRATCH, 0x5a);
    if get(register::SCRATCH) != 0x5a {
        PORT.store(0, Ordering::Relaxed);
        SILENT.store(true, Ordering::Relaxed);
        return;
    }
    let divisor = (MAX_BAUD / baud.clamp(2, MAX_BAUD)) as u16;
    put(register::INTERRUPT_ENABLE, 0);
    put(register::LINE_CONTROL, 0x80);
    put(register::DATA, divisor as u8);
    put(register::INTERRUPT_ENABLE, (divisor >> 8) as u8);
    put(register::LINE_CONTROL, 0x03);
    put(register::FIFO_CONTROL, 0x07);
    put(register::MODEM_CONTROL, 0x03);
}

/// Writes text; a newline becomes CR LF.
pub fn write(bytes: &[u8]) {
    let _guard = LOCK.lock();
    if PORT.load(Ordering::Relaxed) == 0 {
        return;
    }
    for &byte in bytes {
        if byte == b'\n' {
            send(b'\r');
        }
        send(byte);
    }
}

fn send(byte: u8) {
    for _ in 0..PATIENCE {
        if get(register::LINE_STATUS) & 0x20 != 0 {
            break;
        }
        core::hint::spin_loop();
    }
    put(register::DATA, byte);
}

/// Frees the lock whoever holds it, and makes sure that there is a line to
/// write to: for the panic path only, when no other CPU writes any more.
pub(crate) fn break_lock() {
    // SAFETY: the other CPUs have been stopped; nobody returns into a
    // section that this lock protects, and it protects no data.
    unsafe { LOCK.force_unlock() };
    if PORT.load(Ordering::Relaxed) == 0 && !SILENT.load(Ordering::Relaxed) {
        init(DEFAULT_PORT, MAX_BAUD);
    }
}
