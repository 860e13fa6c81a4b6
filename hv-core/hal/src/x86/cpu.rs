// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs: who runs, how to wake one, and what they can do.
// UNSAFETY: control registers, MSRs and HLT.
#![allow(unsafe_code)]

use super::{apic, fault, irq, percpu};
use crate::addr::CpuId;
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use spin::Once;
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};

/// What the core itself uses of a CPU; probed once, on the boot CPU.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// The local APIC has an x2APIC mode.
    pub x2apic: bool,
    /// The local APIC's timer takes a TSC value.
    pub tsc_deadline: bool,
    /// XSAVE and XCR0.
    pub xsave: bool,
    /// 1 GiB pages.
    pub pages_1g: bool,
    /// Supervisor-mode execution prevention.
    pub smep: bool,
    /// Supervisor-mode access prevention.
    pub smap: bool,
    /// User-mode instruction prevention.
    pub umip: bool,
    /// The TSC's rate does not change in any state.
    pub invariant_tsc: bool,
    /// The core itself runs on a hypervisor.
    pub hypervisor: bool,
    /// Bits of a machine address.
    pub physical_bits: u32,
}

static FEATURES: Once<Features> = Once::new();

/// What this machine's CPUs have.
pub fn features() -> &'static Features {
    FEATURES.call_once(probe)
}

fn probe() -> Features {
    let [max, ..] = cpuid(0, 0);
    let [max_extended, ..] = cpuid(0x8000_0000, 0);
    let ask = |leaf: u32| {
        let known = if leaf < 0x8000_0000 { leaf <= max } else { leaf <= max_extended };
        if known { cpuid(leaf, 0) } else { [0; 4] }
    };
    let [_, _, c1, _] = ask(1);
    let [_, b7, c7, _] = ask(7);
    let [_, _, _, d81] = ask(0x8000_0001);
    let [_, _, _, d87] = ask(0x8000_0007);
    let [a88, ..] = ask(0x8000_0008);
    Features {
        x2apic: c1 & 1 << 21 != 0,
        tsc_deadline: c1 & 1 << 24 != 0,
        xsave: c1 & 1 << 26 != 0,
        hypervisor: c1 & 1 << 31 != 0,
        smep: b7 & 1 << 7 != 0,
        smap: b7 & 1 << 20 != 0,
        umip: c7 & 1 << 2 != 0,
        pages_1g: d81 & 1 << 26 != 0,
        invariant_tsc: d87 & 1 << 8 != 0,
        physical_bits: if a88 & 0xff == 0 { 36 } else { (a88 & 0xff).min(52) },
    }
}

/// Sets the running CPU's control registers as the core wants them. Paging is
/// on, in tables that the core built.
pub(super) fn setup() {
    let f = features();
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::MACHINE_CHECK_EXCEPTION
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE;
    cr4.set(Cr4Flags::OSXSAVE, f.xsave);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, f.smep);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, f.smap);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, f.umip);
    let cr0 = Cr0Flags::PAGING
        | Cr0Flags::WRITE_PROTECT
        | Cr0Flags::NUMERIC_ERROR
        | Cr0Flags::EXTENSION_TYPE
        | Cr0Flags::MONITOR_COPROCESSOR
        | Cr0Flags::PROTECTED_MODE_ENABLE;
    // SAFETY: long mode stays as it is; caches are on (INIT leaves them off);
    // the rest only forbids what the core does not do.
    unsafe {
        Efer::update(|e| e.insert(EferFlags::NO_EXECUTE_ENABLE));
        Cr0::write_raw(cr0.bits());
        Cr4::write_raw(cr4.bits());
    }
}

/// The running CPU.
pub fn current() -> CpuId {
    percpu::current()
}

/// CPUs that run.
pub fn count() -> u32 {
    percpu::count()
}

/// APIC id of a CPU. An id that no CPU has is our bug.
pub fn apic_id(cpu: CpuId) -> u32 {
    percpu::of(cpu).map(|c| c.apic_id()).unwrap_or_else(|| panic!("no CPU {}", cpu.0))
}

/// Makes a CPU leave guest mode or [`idle`].
pub fn kick(cpu: CpuId) {
    apic::send(apic_id(cpu), u32::from(irq::KICK));
}

/// Makes a CPU in guest mode look into its vCPU's mailbox, without an exit.
/// On one that is not, nothing happens.
pub fn poke(cpu: CpuId) {
    apic::send(apic_id(cpu), u32::from(irq::POSTED));
}

/// Ends the core with a report of what a CPU is doing that does not come back.
pub fn report_stuck(cpu: CpuId) {
    fault::ask(cpu);
    apic::send(apic_id(cpu), apic::NMI);
}

/// Waits for an interrupt and takes it.
pub fn idle() {
    interrupts::enable_and_hlt();
    interrupts::disable();
}

/// Takes the interrupts that are pending, without waiting.
pub(super) fn take_pending() {
    interrupts::enable();
    // The instruction after STI still runs with interrupts off.
    x86_64::instructions::nop();
    interrupts::disable();
}

/// Lets others go on while waiting for them.
pub fn relax() {
    core::hint::spin_loop();
}

/// CPUID of the running CPU: eax, ebx, ecx, edx.
pub fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    let r = __cpuid_count(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The APIC id that the running CPU was born with, by CPUID: the wide one of
/// leaf 0Bh where there is one.
pub(super) fn initial_apic_id() -> u32 {
    let [max, ..] = cpuid(0, 0);
    let [_, levels, _, wide] = if max >= 0x0b { cpuid(0x0b, 0) } else { [0; 4] };
    let [_, b1, ..] = cpuid(1, 0);
    if levels & 0xffff != 0 { wide } else { b1 >> 24 }
}

/// Reads a model-specific register, if there is such a one.
pub fn rdmsr_safe(index: u32) -> Option<u64> {
    let (low, high, failed): (u32, u32, u32);
    // SAFETY: reading an MSR changes no memory; #GP at label 2 goes on at 3
    // through the fixup table, with `failed` still set.
    unsafe {
        asm!(
            "2: rdmsr",
            "xor {failed:e}, {failed:e}",
            "3:",
            ".pushsection .fixup_table, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            failed = inout(reg) 1u32 => failed,
            in("ecx") index,
            out("eax") low,
            out("edx") high,
            options(nostack)
        );
    }
    (failed == 0).then_some(u64::from(high) << 32 | u64::from(low))
}

/// Writes a model-specific register; false when the CPU refuses.
///
/// # Safety
/// The value must not take from the core what it relies on.
pub(crate) unsafe fn wrmsr_safe(index: u32, value: u64) -> bool {
    let failed: u32;
    // SAFETY: the caller vouches for the effect; #GP is caught as above.
    unsafe {
        asm!(
            "2: wrmsr",
            "xor {failed:e}, {failed:e}",
            "3:",
            ".pushsection .fixup_table, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            failed = inout(reg) 1u32 => failed,
            in("ecx") index,
            in("eax") value as u32,
            in("edx") (value >> 32) as u32,
            options(nostack)
        );
    }
    failed == 0
}

/// Stops every CPU, for good.
pub fn halt_all() -> ! {
    fault::stop_others();
    fault::halt()
}
