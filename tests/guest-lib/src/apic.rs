// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC in x2APIC form (SDM Vol. 3, 11.12).

use crate::cpu::{self, rdmsr, wrmsr};

/// MSRs of registers.
pub mod msr {
    #![allow(missing_docs)]
    pub const BASE: u32 = 0x1b;
    pub const ID: u32 = 0x802;
    pub const VERSION: u32 = 0x803;
    pub const TPR: u32 = 0x808;
    pub const PPR: u32 = 0x80a;
    pub const EOI: u32 = 0x80b;
    pub const LDR: u32 = 0x80d;
    pub const SPURIOUS: u32 = 0x80f;
    pub const ISR: u32 = 0x810;
    pub const IRR: u32 = 0x820;
    pub const ERROR: u32 = 0x828;
    pub const COMMAND: u32 = 0x830;
    pub const TIMER: u32 = 0x832;
    pub const INITIAL: u32 = 0x838;
    pub const CURRENT: u32 = 0x839;
    pub const DIVIDE: u32 = 0x83e;
    pub const SELF_IPI: u32 = 0x83f;
    pub const DEADLINE: u32 = 0x6e0;
}

/// Vector of [`sleep_us`].
pub const SLEEP: u8 = 0x41;
/// Spurious vector.
pub const SPURIOUS: u8 = 0xff;
/// LVT: masked.
pub const MASKED: u64 = 1 << 16;
/// Timer mode: periodic.
pub const PERIODIC: u64 = 1 << 17;
/// Timer mode: TSC deadline.
pub const TSC_DEADLINE: u64 = 2 << 17;

/// Kinds of interrupt command.
pub mod kind {
    #![allow(missing_docs)]
    pub const FIXED: u64 = 0;
    pub const NMI: u64 = 4 << 8;
    pub const INIT: u64 = 5 << 8 | 1 << 14;
    pub const STARTUP: u64 = 6 << 8;
    pub const TO_SELF: u64 = 1 << 18;
    pub const TO_ALL: u64 = 2 << 18;
    pub const TO_OTHERS: u64 = 3 << 18;
}

/// Turns it on, spurious vector 0xff.
pub fn enable() {
    wrmsr(msr::SPURIOUS, 1 << 8 | u64::from(SPURIOUS));
}

/// This vCPU's APIC id.
pub fn id() -> u32 {
    rdmsr(msr::ID) as u32
}

/// Acknowledges the interrupt in service.
pub fn end() {
    wrmsr(msr::EOI, 0);
}

/// Sends a command to one APIC.
pub fn send(to: u32, command: u64) {
    wrmsr(msr::COMMAND, u64::from(to) << 32 | command);
}

/// Sends a vector to one APIC.
pub fn ipi(to: u32, vector: u8) {
    send(to, kind::FIXED | u64::from(vector));
}

/// Arms the TSC-deadline timer.
pub fn deadline(vector: u8, at: u64) {
    wrmsr(msr::TIMER, TSC_DEADLINE | u64::from(vector));
    wrmsr(msr::DEADLINE, at);
}

/// Masks the timer.
pub fn timer_off() {
    wrmsr(msr::TIMER, MASKED);
}

/// Halts until the time is over, whatever else interrupts.
pub fn sleep_us(us: u64) {
    let end = cpu::tsc() + us * cpu::khz() / 1000;
    cpu::cli();
    while cpu::tsc() < end {
        deadline(SLEEP, end);
        cpu::sti_hlt();
        cpu::cli();
    }
    timer_off();
}
