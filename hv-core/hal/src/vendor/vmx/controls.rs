// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which controls this CPU lets us set, from its capability MSRs (SDM Vol. 3,
//! appendix A): what we cannot do without, what we use if it is there, and
//! what the CPU insists on.

use super::layout::{entry, exit, pin, primary, secondary};
use crate::assist::Assist;

/// What the capability MSRs hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capabilities {
    /// The TRUE variants where IA32_VMX_BASIC has them (A.3.1).
    pub pin: u64,
    pub primary: u64,
    pub exit: u64,
    pub entry: u64,
    /// 0 where the CPU has no secondary controls.
    pub secondary: u64,
    /// IA32_VMX_EPT_VPID_CAP; 0 where there is neither.
    pub ept_vpid: u64,
    /// IA32_VMX_MISC (A.6).
    pub misc: u64,
    /// Bits of CR0 and CR4 that must be 1, and those that may (A.7, A.8).
    pub cr0_fixed0: u64,
    pub cr0_fixed1: u64,
    pub cr4_fixed0: u64,
    pub cr4_fixed1: u64,
}

/// IA32_VMX_EPT_VPID_CAP (A.10).
pub mod ept_vpid {
    pub const WALK_4: u64 = 1 << 6;
    pub const UNCACHED: u64 = 1 << 8;
    pub const WRITE_BACK: u64 = 1 << 14;
    pub const LARGE_2M: u64 = 1 << 16;
    pub const LARGE_1G: u64 = 1 << 17;
    pub const INVEPT: u64 = 1 << 20;
    pub const DIRTY: u64 = 1 << 21;
    pub const INVEPT_SINGLE: u64 = 1 << 25;
    pub const INVEPT_ALL: u64 = 1 << 26;
    pub const INVVPID: u64 = 1 << 32;
    pub const INVVPID_ALL: u64 = 1 << 42;
}

/// The controls of every vCPU of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    pub pin: u32,
    pub primary: u32,
    pub secondary: u32,
    pub exit: u32,
    pub entry: u32,
    /// TLB entries are tagged.
    pub vpid: bool,
    /// What the CPU does of the virtual APIC.
    pub assist: Assist,
    /// An exit for an external interrupt has taken it from the APIC.
    pub acknowledges: bool,
    /// A control domain may flush caches without an exit, if this is cleared.
    pub wbinvd: bool,
    /// INVEPT knows one context (else all).
    pub invept_single: bool,
    /// A run can be given a longest time.
    pub timer: bool,
    /// Stage 2 leaves of 1 GiB.
    pub large_1g: bool,
}

const NO_EPT: &str = "VT-x has no extended page tables (EPT) here: the core needs a CPU with them";
const NO_UNRESTRICTED: &str = "VT-x has no unrestricted guest here: the core needs a CPU with it \
    (Intel: since 2010; a virtual machine's host: kvm_intel unrestricted_guest=1)";
const NO_CONTROL: &str = "VT-x lacks a control that every CPU with EPT has: is it hidden by a \
    hypervisor below?";
const NO_EPT_FORM: &str = "EPT lacks four-level walks, write-back tables, 2 MiB pages or INVEPT";

/// Low half: bits that must be 1; high half: bits that may be (A.3).
fn settle(capability: u64, need: u32, want: u32) -> Option<u32> {
    let (must, may) = (capability as u32, (capability >> 32) as u32);
    (need & !may == 0).then_some((need | want) & may | must)
}

/// What the CPU can do of the virtual APIC (25.6.2, 25.6.8, chapter 30), of
/// what is wanted. Each part needs those before it: the kernel crate looks for
/// pending and serviced interrupts in one place only.
fn assist(c: &Capabilities, want: Assist) -> Assist {
    let may = |capability: u64, bits: u32| (capability >> 32) as u32 & bits == bits;
    let tpr = want.tpr && may(c.primary, primary::TPR_SHADOW);
    let registers = secondary::X2APIC | secondary::APIC_REGISTERS;
    let registers = want.registers && tpr && may(c.secondary, registers);
    let delivery = want.delivery && registers && may(c.secondary, secondary::DELIVERY);
    let posting =
        want.posting && delivery && may(c.pin, pin::POSTED) && may(c.exit, exit::ACKNOWLEDGE);
    Assist { tpr, registers, delivery, posting }
}

/// Chooses, or says what is missing. `want`: what the CPU shall do of the
/// virtual APIC, where it can.
pub fn choose(c: &Capabilities, want: Assist) -> Result<Controls, &'static str> {
    let assist = assist(c, want);
    let when = |on: bool, bits: u32| if on { bits } else { 0 };
    // Every control below is needed for isolation or by the rest of the hal,
    // except those in `want`.
    let need = pin::EXTERNAL_INTERRUPT | pin::NMI | pin::VIRTUAL_NMIS;
    let want = pin::TIMER | when(assist.posting, pin::POSTED);
    let pins = settle(c.pin, need, want).ok_or(NO_CONTROL)?;
    let need = primary::TSC_OFFSET
        | primary::HLT
        | primary::MWAIT
        | primary::RDPMC
        | primary::IO_BITMAPS
        | primary::MSR_BITMAPS
        | primary::MONITOR
        | primary::SECONDARY;
    let cr8 = primary::CR8_LOAD | primary::CR8_STORE;
    let apic = if assist.tpr { primary::TPR_SHADOW } else { cr8 };
    let first = settle(c.primary, need, apic).ok_or(NO_EPT)?;
    // With EPT the guest owns CR3; only CPUs without TRUE controls insist on
    // exits for it, and those have no EPT.
    if first & (primary::CR3_LOAD | primary::CR3_STORE) != 0 {
        return Err(NO_CONTROL);
    }
    if first & apic != apic {
        return Err(NO_CONTROL);
    }
    let want = secondary::RDTSCP
        | secondary::VPID
        | secondary::WBINVD
        | secondary::PAUSE_LOOP
        | secondary::INVPCID
        | secondary::ENCLS
        | secondary::XSAVES
        | when(assist.registers, secondary::X2APIC | secondary::APIC_REGISTERS)
        | when(assist.delivery, secondary::DELIVERY);
    let mut second = settle(c.secondary, secondary::EPT, want).ok_or(NO_EPT)?;
    second |= settle(c.secondary, secondary::UNRESTRICTED, 0).ok_or(NO_UNRESTRICTED)?;
    let has = |bits: u64| c.ept_vpid & bits == bits;
    if !has(ept_vpid::WALK_4 | ept_vpid::WRITE_BACK | ept_vpid::LARGE_2M | ept_vpid::INVEPT)
        || c.ept_vpid & (ept_vpid::INVEPT_SINGLE | ept_vpid::INVEPT_ALL) == 0
    {
        return Err(NO_EPT_FORM);
    }
    // Tags are of use only if they can be taken back all at once.
    if !has(ept_vpid::INVVPID | ept_vpid::INVVPID_ALL) {
        second &= !secondary::VPID;
    }
    let pat_efer = exit::SAVE_PAT | exit::LOAD_PAT | exit::SAVE_EFER | exit::LOAD_EFER;
    let need = exit::HOST_64 | exit::SAVE_DEBUG | pat_efer;
    let exits = settle(c.exit, need, exit::ACKNOWLEDGE).ok_or(NO_CONTROL)?;
    let entry = settle(c.entry, entry::LOAD_PAT | entry::LOAD_EFER | entry::LOAD_DEBUG, 0)
        .ok_or(NO_CONTROL)?;
    Ok(Controls {
        pin: pins,
        primary: first,
        secondary: second,
        exit: exits,
        entry,
        vpid: second & secondary::VPID != 0,
        assist,
        acknowledges: exits & exit::ACKNOWLEDGE != 0,
        wbinvd: second & secondary::WBINVD != 0,
        invept_single: has(ept_vpid::INVEPT_SINGLE),
        timer: pins & pin::TIMER != 0,
        large_1g: has(ept_vpid::LARGE_1G),
    })
}

/// What IA32_FEATURE_CONTROL says of VMXON (24.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// It may be used.
    Allows,
    /// It may be used after this is written: the lock was left open.
    LeavesOpen(u64),
    /// It is locked off until the next reset.
    Forbids,
}

/// Judges the register's value; there is none in some virtual machines, and
/// then no ban either.
pub fn firmware(feature_control: Option<u64>) -> Firmware {
    const LOCKED: u64 = 1 << 0;
    const OUTSIDE_SMX: u64 = 1 << 2;
    match feature_control {
        None => Firmware::Allows,
        Some(value) if value & LOCKED == 0 => Firmware::LeavesOpen(value | LOCKED | OUTSIDE_SMX),
        Some(value) if value & OUTSIDE_SMX != 0 => Firmware::Allows,
        Some(_) => Firmware::Forbids,
    }
}

#[cfg(test)]
#[path = "controls_tests.rs"]
pub mod tests;
