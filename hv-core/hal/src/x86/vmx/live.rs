// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers of a guest that the VMCS has no place for and the core does not
//! use: they stay in the CPU while the vCPU is loaded. (On AMD-V the control
//! block has them.)
// UNSAFETY: CR2, DR6, MSRs.
#![allow(unsafe_code)]

use core::arch::asm;

use crate::vendor::regs::{dr6, msr};
use crate::x86::cpu;

/// The MSRs among them.
const MSRS: [u32; 5] = [msr::STAR, msr::LSTAR, msr::CSTAR, msr::SFMASK, msr::KERNEL_GS_BASE];

/// One vCPU's.
#[derive(Debug)]
pub struct Live {
    msrs: [u64; 5],
    cr2: u64,
    dr6: u64,
    loaded: bool,
}

impl Live {
    /// Reset state.
    pub const fn new() -> Self {
        Self { msrs: [0; 5], cr2: 0, dr6: dr6::RESET, loaded: false }
    }

    /// Into the CPU.
    pub fn load(&mut self) {
        for (index, value) in MSRS.into_iter().zip(self.msrs) {
            write(index, value);
        }
        write_cr2(self.cr2);
        write_dr6(self.dr6);
        self.loaded = true;
    }

    /// Out of the CPU.
    pub fn unload(&mut self) {
        for (index, value) in MSRS.into_iter().zip(&mut self.msrs) {
            *value = cpu::rdmsr_safe(index).unwrap_or(*value);
        }
        self.cr2 = self.cr2();
        self.dr6 = self.dr6();
        self.loaded = false;
    }

    /// One of the MSRs.
    pub fn msr(&self, index: u32) -> Option<u64> {
        let (_, kept) = MSRS.into_iter().zip(self.msrs).find(|m| m.0 == index)?;
        if self.loaded { cpu::rdmsr_safe(index) } else { Some(kept) }
    }

    /// Sets one; the value has been checked. False: it is not among them.
    pub fn set_msr(&mut self, index: u32, value: u64) -> bool {
        let Some((_, kept)) = MSRS.into_iter().zip(&mut self.msrs).find(|m| m.0 == index) else {
            return false;
        };
        *kept = value;
        if self.loaded {
            write(index, value);
        }
        true
    }

    /// STAR LSTAR CSTAR SFMASK.
    pub fn syscall(&self) -> [u64; 4] {
        [msr::STAR, msr::LSTAR, msr::CSTAR, msr::SFMASK].map(|m| self.msr(m).unwrap_or(0))
    }

    pub fn cr2(&self) -> u64 {
        if !self.loaded {
            return self.cr2;
        }
        let value;
        // SAFETY: only reads.
        unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub fn set_cr2(&mut self, value: u64) {
        self.cr2 = value;
        if self.loaded {
            write_cr2(value);
        }
    }

    pub fn dr6(&self) -> u64 {
        if !self.loaded {
            return self.dr6;
        }
        let value;
        // SAFETY: only reads.
        unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    /// 32 bits.
    pub fn set_dr6(&mut self, value: u64) {
        self.dr6 = value;
        if self.loaded {
            write_dr6(value);
        }
    }
}

fn write(index: u32, value: u64) {
    // SAFETY: the core has no user mode and no SWAPGS, so it never uses these
    // registers; values were checked when they were set, or are a guest's that
    // the CPU has accepted.
    unsafe { cpu::wrmsr_safe(index, value) };
}

fn write_cr2(value: u64) {
    // SAFETY: CR2 only reports; a page fault of the core's is its end.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

fn write_dr6(value: u64) {
    // SAFETY: DR6 only reports; the upper half is clear.
    unsafe { asm!("mov dr6, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}
