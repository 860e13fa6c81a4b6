// SPDX-License-Identifier: MIT OR Apache-2.0
//! Privileged instructions. Those that may fault are to be called within
//! [`catch`](crate::trap::catch); the `try_` forms do that.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};

use crate::trap::{Fault, catch};

/// CPUID: eax ebx ecx edx.
pub fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    let r = __cpuid_count(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The time-stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: RDTSC has no effect but its result.
    unsafe { _rdtsc() }
}

/// Ticks of the TSC in a millisecond, as the core tells.
pub fn khz() -> u64 {
    let [khz, ..] = cpuid(hv_abi::cpuid::LEAF_TIMING, 0);
    u64::from(khz.max(1))
}

/// Waits by the TSC.
pub fn spin_us(us: u64) {
    let end = tsc() + us * khz() / 1000;
    while tsc() < end {
        core::hint::spin_loop();
    }
}

/// Spins until `done`; false when that took longer than `ms`.
pub fn wait_until(ms: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = tsc() + ms * khz();
    while !done() {
        if tsc() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Reads an MSR; faults when there is none.
pub fn rdmsr(index: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; a fault is the caller's to catch.
    unsafe {
        asm!("rdmsr", in("ecx") index, out("eax") low, out("edx") high,
            options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an MSR; faults when it can't be. What it breaks is this guest's.
pub fn wrmsr(index: u32, value: u64) {
    // SAFETY: the guest owns its machine (see the crate's contract).
    unsafe {
        asm!("wrmsr", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Reads an MSR or says how that faulted.
pub fn try_rdmsr(index: u32) -> Result<u64, Fault> {
    catch(|| rdmsr(index))
}

/// Writes an MSR or says how that faulted.
pub fn try_wrmsr(index: u32, value: u64) -> Result<(), Fault> {
    catch(|| wrmsr(index, value))
}

/// Lets interrupts in.
pub fn sti() {
    // SAFETY: handlers are installed before any code runs that calls this.
    unsafe { asm!("sti", options(nostack)) }
}

/// Keeps interrupts out.
pub fn cli() {
    // SAFETY: only delays handlers.
    unsafe { asm!("cli", options(nostack)) }
}

/// Lets in what is pending, and keeps further interrupts out again.
pub fn let_in() {
    // SAFETY: as `sti`; the NOP is the first instruction behind its shadow.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) }
}

/// STI and HLT: waits for the next interrupt and lets it in.
pub fn sti_hlt() {
    // SAFETY: as `sti`; the shadow of STI keeps an interrupt from coming
    // between the two (SDM Vol. 2, STI).
    unsafe { asm!("sti", "hlt", options(nostack)) }
}

/// HLT as things are.
pub fn hlt() {
    // SAFETY: waits.
    unsafe { asm!("hlt", options(nostack)) }
}

/// Halts for good.
pub fn halt_forever() -> ! {
    loop {
        cli();
        hlt();
    }
}

macro_rules! control_register {
    ($read:ident $write:ident $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reads a register.
            unsafe {
                asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack, preserves_flags))
            }
            value
        }

        #[doc = concat!("Writes ", $name, "; faults when it can't be.")]
        pub fn $write(value: u64) {
            // SAFETY: the guest owns its machine (see the crate's contract).
            unsafe {
                asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags))
            }
        }
    };
}

control_register!(cr0 set_cr0 "cr0");
control_register!(cr2 set_cr2 "cr2");
control_register!(cr3 set_cr3 "cr3");
control_register!(cr4 set_cr4 "cr4");
control_register!(cr8 set_cr8 "cr8");
control_register!(dr0 set_dr0 "dr0");
control_register!(dr6 set_dr6 "dr6");
control_register!(dr7 set_dr7 "dr7");

/// XSETBV of XCR `index`; faults when the value can't be.
pub fn xsetbv(index: u32, value: u64) {
    // SAFETY: the guest owns its machine (see the crate's contract).
    unsafe {
        asm!("xsetbv", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// XGETBV of XCR0.
pub fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; #UD without CR4.OSXSAVE is the caller's.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Reads a port of 1, 2 or 4 bytes; the bits above are the caller's `before`.
pub fn port_in(port: u16, size: u8, before: u64) -> u64 {
    let mut value = before;
    // SAFETY: guests own no port, the runner reads those without effects.
    unsafe {
        match size {
            1 => asm!("in al, dx", in("dx") port, inout("rax") value, options(nostack)),
            2 => asm!("in ax, dx", in("dx") port, inout("rax") value, options(nostack)),
            _ => asm!("in eax, dx", in("dx") port, inout("rax") value, options(nostack)),
        }
    }
    value
}

/// Writes a port of 1, 2 or 4 bytes.
pub fn port_out(port: u16, size: u8, value: u32) {
    // SAFETY: as `port_in`; the runner writes only those that end the machine.
    unsafe {
        match size {
            1 => asm!("out dx, al", in("dx") port, in("al") value as u8, options(nostack)),
            2 => asm!("out dx, ax", in("dx") port, in("ax") value as u16, options(nostack)),
            _ => asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)),
        }
    }
}
