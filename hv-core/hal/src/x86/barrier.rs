// SPDX-License-Identifier: MIT OR Apache-2.0
//! Speculation barriers between domains, and between a guest and the core, as
//! `vendor::mitigate` decides. (The return stack is filled by the vendors'
//! `entry`, before the first return after an exit.)
// UNSAFETY: MSRs, VERW.
#![allow(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

use super::percpu::MAX_CPUS;
use super::{cpu, desc};
use crate::vendor::mitigate::{Barriers, Told, decide};
use crate::vendor::regs::msr;

/// SDM Vol. 4, 2.1; APM Vol. 2, 3.2.9.
const SPEC_CTRL: u32 = 0x48;
const SPEC_CTRL_IBRS: u64 = 1;
const PRED_CMD: u32 = 0x49;
const PRED_CMD_IBPB: u64 = 1;
const ARCH_CAPABILITIES: u32 = 0x10a;
const FLUSH_CMD: u32 = 0x10b;
const FLUSH_CMD_L1D: u64 = 1;
/// EFER.AIBRSE (APM Vol. 2, 3.1.7).
const AUTOMATIC_IBRS: u64 = 1 << 21;

/// The stage 2 root of the vCPU that each CPU ran last: tells domains apart.
static LAST: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What this machine needs.
pub fn needed() -> &'static Barriers {
    static NEEDED: Once<Barriers> = Once::new();
    NEEDED.call_once(|| {
        let [max, ..] = cpu::cpuid(0, 0);
        let [extended, ..] = cpu::cpuid(0x8000_0000, 0);
        let edx_7 = if max >= 7 { cpu::cpuid(7, 0)[3] } else { 0 };
        let told = Told {
            edx_7,
            ebx_8: if extended >= 0x8000_0008 { cpu::cpuid(0x8000_0008, 0)[1] } else { 0 },
            eax_21: if extended >= 0x8000_0021 { cpu::cpuid(0x8000_0021, 0)[0] } else { 0 },
            // CPUID 7, EDX bit 29 tells of it.
            capabilities: match edx_7 >> 29 & 1 {
                1 => cpu::rdmsr_safe(ARCH_CAPABILITIES).unwrap_or(0),
                _ => 0,
            },
        };
        decide(&told)
    })
}

/// What stays on, on the running CPU.
pub fn enable_cpu() {
    let needed = needed();
    // SAFETY: both only restrain prediction.
    unsafe {
        if needed.ibrs {
            cpu::wrmsr_safe(SPEC_CTRL, SPEC_CTRL_IBRS);
        }
        if needed.automatic_ibrs {
            let old = cpu::rdmsr_safe(msr::EFER).unwrap_or(0);
            cpu::wrmsr_safe(msr::EFER, old | AUTOMATIC_IBRS);
        }
    }
}

/// A vCPU of the domain with this stage 2 root comes to the running CPU.
pub fn arrive(root: u64) {
    let Some(last) = LAST.get(cpu::current().0 as usize) else {
        return;
    };
    if last.swap(root, Ordering::Relaxed) != root && needed().predictors {
        // SAFETY: a command that only empties predictors.
        unsafe { cpu::wrmsr_safe(PRED_CMD, PRED_CMD_IBPB) };
    }
}

/// Just before a guest is entered.
pub fn before_entry() {
    let needed = needed();
    if needed.l1d {
        // SAFETY: a command that only flushes. It clears the buffers as well.
        unsafe { cpu::wrmsr_safe(FLUSH_CMD, FLUSH_CMD_L1D) };
    }
    if needed.buffers {
        let selector = desc::DATA;
        // SAFETY: VERW of a writable segment changes ZF and, by microcode,
        // the CPU's buffers; it must have a memory operand to do that.
        unsafe { asm!("verw word ptr [{}]", in(reg) &raw const selector, options(nostack)) };
    }
}
