// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC of each CPU, as x2APIC where the CPUs have it, else through
//! its registers in memory. The same register numbers serve both: MSR 0x800 +
//! n, or n * 16 bytes from the base (SDM vol. 3, 11.4.1 and 11.12.1.2).
// UNSAFETY: MMIO and MSRs of the interrupt controller.
#![allow(unsafe_code)]

use super::{cpu, irq, paging, percpu};
use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use x86_64::registers::model_specific::Msr;

/// Registers.
mod register {
    pub const ID: u32 = 0x02;
    pub const TPR: u32 = 0x08;
    pub const EOI: u32 = 0x0b;
    pub const SPURIOUS: u32 = 0x0f;
    pub const IN_SERVICE: u32 = 0x10;
    pub const TRIGGER_MODE: u32 = 0x18;
    pub const ICR: u32 = 0x30;
    pub const ICR_HIGH: u32 = 0x31;
    pub const LVT_CMCI: u32 = 0x2f;
    pub const LVT_TIMER: u32 = 0x32;
    pub const LVT_THERMAL: u32 = 0x33;
    pub const LVT_PERFORMANCE: u32 = 0x34;
    pub const LVT_LINT0: u32 = 0x35;
    pub const LVT_ERROR: u32 = 0x37;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const CURRENT_COUNT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
    pub const VERSION: u32 = 0x03;
}

const BASE_MSR: u32 = 0x1b;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2: u64 = 1 << 10;
const TSC_DEADLINE_MSR: u32 = 0x6e0;

const LVT_MASKED: u32 = 1 << 16;
const LVT_NMI: u32 = 4 << 8;
const LVT_DEADLINE: u32 = 2 << 17;
const ICR_BUSY: u32 = 1 << 12;
const ICR_OTHERS: u32 = 3 << 18;

/// ICR words (SDM vol. 3, 11.6.1), besides plain vectors.
pub(super) const NMI: u32 = 4 << 8 | 1 << 14;
pub(super) const INIT: u32 = 5 << 8 | 1 << 14;
pub(super) const STARTUP: u32 = 6 << 8 | 1 << 14;

const DOWN: u8 = 0;
const XAPIC: u8 = 1;
const X2APIC: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(DOWN);
/// Where the registers are mapped, in xAPIC mode.
static REGISTERS: AtomicU64 = AtomicU64::new(0);
/// The LINT input that NMIs come in at; 2 = none.
static NMI_INPUT: AtomicU8 = AtomicU8::new(2);

fn mode() -> u8 {
    MODE.load(Ordering::Relaxed)
}

/// The boot CPU's APIC is set up, so interrupts can be sent.
pub(super) fn is_up() -> bool {
    mode() != DOWN
}

/// All CPUs are reached, also those with ids from 255 on.
pub(super) fn is_x2() -> bool {
    mode() == X2APIC
}

fn read(register: u32) -> u32 {
    if is_x2() {
        // SAFETY: a register of the x2APIC; reading has no side effect.
        unsafe { Msr::new(0x800 + register).read() as u32 }
    } else {
        let at = REGISTERS.load(Ordering::Relaxed) + u64::from(register) * 16;
        // SAFETY: `init` has mapped the page of registers, uncached.
        unsafe { (at as *const u32).read_volatile() }
    }
}

fn write(register: u32, value: u32) {
    if is_x2() {
        // SAFETY: callers here write values the manual allows; the APIC can't
        // reach memory.
        unsafe { Msr::new(0x800 + register).write(value.into()) }
    } else {
        let at = REGISTERS.load(Ordering::Relaxed) + u64::from(register) * 16;
        // SAFETY: as in `read`.
        unsafe { (at as *mut u32).write_volatile(value) }
    }
}

/// Chooses the mode and maps the registers; `base` is what ACPI says, or 0.
/// Then sets up the boot CPU's APIC.
pub(super) fn init(base: u64, nmi_input: Option<u8>) {
    // SAFETY: every CPU with long mode has this register.
    let now = unsafe { Msr::new(BASE_MSR).read() };
    NMI_INPUT.store(nmi_input.unwrap_or(2), Ordering::Relaxed);
    if cpu::features().x2apic {
        MODE.store(X2APIC, Ordering::Relaxed);
    } else {
        let from_msr = now & 0x000f_ffff_ffff_f000;
        let base = if from_msr != 0 { from_msr } else { base };
        let registers = paging::window(base, hv_abi::PAGE_SIZE, true);
        REGISTERS.store(registers as u64, Ordering::Relaxed);
        MODE.store(XAPIC, Ordering::Relaxed);
    }
    setup();
}

/// Sets up the running CPU's APIC.
pub(super) fn setup() {
    let mut msr = Msr::new(BASE_MSR);
    // SAFETY: enabling, then x2APIC from enabled, is the order that section
    // 11.12.5 demands; the base address stays.
    unsafe {
        let enabled = msr.read() | BASE_ENABLED;
        msr.write(enabled);
        if is_x2() {
            msr.write(enabled | BASE_X2);
        }
    }
    write(register::SPURIOUS, 1 << 8 | u32::from(irq::SPURIOUS));
    write(register::TPR, 0);
    let last = read(register::VERSION) >> 16 & 0xff;
    let masked = [
        (3, register::LVT_ERROR),
        (4, register::LVT_PERFORMANCE),
        (5, register::LVT_THERMAL),
        (6, register::LVT_CMCI),
    ];
    for (index, entry) in masked {
        if index <= last {
            write(entry, LVT_MASKED);
        }
    }
    for input in 0..2u32 {
        let is_nmi = u32::from(NMI_INPUT.load(Ordering::Relaxed)) == input;
        write(register::LVT_LINT0 + input, if is_nmi { LVT_NMI } else { LVT_MASKED });
    }
    write(register::DIVIDE, 0b1011);
    let by_tsc = cpu::features().tsc_deadline;
    write(register::LVT_TIMER, u32::from(irq::TIMER) | if by_tsc { LVT_DEADLINE } else { 0 });
    // The switch of mode is ordered before any deadline (SDM 11.5.4.1).
    // SAFETY: a fence.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) };
    // What the firmware left in service would block everything below it.
    for _ in 0..256 {
        if highest_in_service().is_none() {
            break;
        }
        eoi();
    }
}

/// The running CPU's APIC id.
pub(super) fn id() -> u32 {
    if is_x2() { read(register::ID) } else { read(register::ID) >> 24 }
}

/// Ends the highest interrupt in service.
pub(super) fn eoi() {
    write(register::EOI, 0);
}

fn has(bank: u32, vector: u8) -> bool {
    read(bank + u32::from(vector >> 5)) & 1 << (vector & 31) != 0
}

/// The vector is in service.
pub(super) fn in_service(vector: u8) -> bool {
    has(register::IN_SERVICE, vector)
}

/// The vector's latest interrupt was level-triggered.
pub(super) fn is_level(vector: u8) -> bool {
    has(register::TRIGGER_MODE, vector)
}

/// The highest vector in service.
pub(super) fn highest_in_service() -> Option<u8> {
    (0..8u32).rev().find_map(|i| {
        let word = read(register::IN_SERVICE + i);
        word.checked_ilog2().map(|bit| (i * 32 + bit) as u8)
    })
}

/// Sends an interrupt to one CPU.
pub(super) fn send(apic_id: u32, what: u32) {
    send_word(apic_id, what);
}

/// Sends an interrupt to all CPUs that run, but this one.
pub(super) fn send_to_others(what: u32) {
    if percpu::count() > 1 {
        send_word(0, what | ICR_OTHERS);
    }
}

fn send_word(apic_id: u32, what: u32) {
    if is_x2() {
        let word = u64::from(apic_id) << 32 | u64::from(what);
        // SAFETY: sends an interrupt whose handler is the core's. The fences
        // order stores before it: a write of this MSR alone does not (11.12.3).
        unsafe {
            asm!("mfence", "lfence", options(nostack, preserves_flags));
            Msr::new(0x800 + register::ICR).write(word);
        }
    } else {
        write(register::ICR_HIGH, apic_id << 24);
        write(register::ICR, what);
        // A word may be written only when the last one has gone out.
        for _ in 0..100_000 {
            if read(register::ICR) & ICR_BUSY == 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Starts the one-shot timer; 0 stops it.
pub(super) fn start_timer(count: u32) {
    write(register::INITIAL_COUNT, count);
}

/// What is left of the one-shot timer.
pub(super) fn timer_left() -> u32 {
    read(register::CURRENT_COUNT)
}

/// Sets the TSC deadline; 0 disarms.
pub(super) fn set_deadline(tsc: u64) {
    // SAFETY: the register is there (`tsc_deadline`); raises our own vector.
    unsafe { Msr::new(TSC_DEADLINE_MSR).write(tsc) }
}

/// Puts the timer into one-shot mode without its interrupt, for calibration.
pub(super) fn timer_for_calibration(on: bool) {
    let by_tsc = cpu::features().tsc_deadline && !on;
    let entry = u32::from(irq::TIMER)
        | if by_tsc { LVT_DEADLINE } else { 0 }
        | if on { LVT_MASKED } else { 0 };
    write(register::LVT_TIMER, entry);
    // SAFETY: a fence; see `setup`.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) };
}
