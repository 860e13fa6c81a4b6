// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restart of the machine.
// UNSAFETY: port I/O that resets the machine, and a deliberate triple fault.
#![allow(unsafe_code)]

use super::time;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use x86_64::instructions::{hlt, interrupts, port::Port};
use x86_64::structures::DescriptorTablePointer;

/// The FADT's reset register, packed: bit 63 valid, 16..48 port, 0..8 value.
static RESET_REGISTER: AtomicU64 = AtomicU64::new(0);
/// What ends with a failure: restart, or halt.
static RESTART_ON_PANIC: AtomicBool = AtomicBool::new(false);

/// Remembers the firmware's reset register (ACPI 6.5, 4.8.3.6).
pub(super) fn set_reset_register(port: u16, value: u8) {
    let packed = 1 << 63 | u64::from(port) << 16 | u64::from(value);
    RESET_REGISTER.store(packed, Ordering::Relaxed);
}

/// Says whether a panic, or a control domain that stops, restarts the machine
/// or leaves it halted.
pub fn restart_on_panic(restart: bool) {
    RESTART_ON_PANIC.store(restart, Ordering::Relaxed);
}

/// What [`restart_on_panic`] said.
pub(super) fn restarts_on_panic() -> bool {
    RESTART_ON_PANIC.load(Ordering::Relaxed)
}

/// Restarts the machine, or halts it where [`restart_on_panic`] said so.
pub fn give_up() -> ! {
    if restarts_on_panic() {
        restart();
    }
    super::cpu::halt_all()
}

/// Restarts the machine: port 0xcf9, the firmware's reset register, the
/// keyboard controller, a triple fault, in this order.
pub fn restart() -> ! {
    interrupts::disable();
    // SAFETY: whatever these ports do, there is no way back from here that
    // memory safety could matter for.
    unsafe {
        let mut control: Port<u8> = Port::new(0xcf9);
        let old = control.read() & !0x06;
        control.write(old | 0x02);
        control.write(old | 0x06);
        time::spin_us(50_000);

        let packed = RESET_REGISTER.load(Ordering::Relaxed);
        if packed >> 63 != 0 {
            Port::new((packed >> 16) as u16).write(packed as u8);
            time::spin_us(50_000);
        }

        let mut keyboard: Port<u8> = Port::new(0x64);
        for _ in 0..1000 {
            if keyboard.read() & 0x02 == 0 {
                break;
            }
            time::spin_us(10);
        }
        keyboard.write(0xfe);
        time::spin_us(50_000);

        let nothing = DescriptorTablePointer { limit: 0, base: x86_64::VirtAddr::zero() };
        x86_64::instructions::tables::lidt(&nothing);
        core::arch::asm!("int3");
    }
    loop {
        hlt();
    }
}
