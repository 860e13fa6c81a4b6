// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which controls this CPU lets us set, from its capability MSRs (SDM Vol. 3,
//! appendix A): what we cannot do without, what we use if it is there, and
//! what the CPU insists on.

use super::layout::{entry, exit, pin, primary, secondary};

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
}

/// IA32_VMX_EPT_VPID_CAP (A.10).
pub mod ept_vpid {
    pub const WALK_4: u64 = 1 << 6;
    pub const WRITE_BACK: u64 = 1 << 14;
    pub const LARGE_2M: u64 = 1 << 16;
    pub const LARGE_1G: u64 = 1 << 17;
    pub const INVEPT: u64 = 1 << 20;
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
    /// CR8 needs no exit.
    pub tpr_shadow: bool,
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

/// Chooses, or says what is missing.
pub fn choose(c: &Capabilities) -> Result<Controls, &'static str> {
    // Every control below is needed for isolation or by the rest of the hal,
    // except those in `want`.
    let need = pin::EXTERNAL_INTERRUPT | pin::NMI | pin::VIRTUAL_NMIS;
    let pin = settle(c.pin, need, pin::TIMER).ok_or(NO_CONTROL)?;
    let need = primary::TSC_OFFSET
        | primary::HLT
        | primary::MWAIT
        | primary::RDPMC
        | primary::IO_BITMAPS
        | primary::MSR_BITMAPS
        | primary::MONITOR
        | primary::SECONDARY;
    let mut first = settle(c.primary, need, primary::TPR_SHADOW).ok_or(NO_EPT)?;
    // With EPT the guest owns CR3; only CPUs without TRUE controls insist on
    // exits for it, and those have no EPT.
    if first & (primary::CR3_LOAD | primary::CR3_STORE) != 0 {
        return Err(NO_CONTROL);
    }
    let tpr_shadow = first & primary::TPR_SHADOW != 0;
    if !tpr_shadow {
        let cr8 = primary::CR8_LOAD | primary::CR8_STORE;
        first = settle(c.primary, need | cr8, 0).ok_or(NO_CONTROL)?;
    }
    let want = secondary::RDTSCP
        | secondary::VPID
        | secondary::WBINVD
        | secondary::PAUSE_LOOP
        | secondary::INVPCID
        | secondary::ENCLS
        | secondary::XSAVES;
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
    // Interrupts are not acknowledged by an exit: the core takes them through
    // its own table, as on AMD-V.
    let pat_efer = exit::SAVE_PAT | exit::LOAD_PAT | exit::SAVE_EFER | exit::LOAD_EFER;
    let need = exit::HOST_64 | exit::SAVE_DEBUG | pat_efer;
    let exit = settle(c.exit, need, 0).ok_or(NO_CONTROL)?;
    let entry = settle(c.entry, entry::LOAD_PAT | entry::LOAD_EFER | entry::LOAD_DEBUG, 0)
        .ok_or(NO_CONTROL)?;
    Ok(Controls {
        pin,
        primary: first,
        secondary: second,
        exit,
        entry,
        vpid: second & secondary::VPID != 0,
        tpr_shadow,
        wbinvd: second & secondary::WBINVD != 0,
        invept_single: has(ept_vpid::INVEPT_SINGLE),
        timer: pin & pin::TIMER != 0,
        large_1g: has(ept_vpid::LARGE_1G),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A CPU of 2017 that insists on the usual default-1 bits.
    pub fn recent() -> Capabilities {
        let free = |must: u32| u64::from(u32::MAX) << 32 | u64::from(must);
        Capabilities {
            pin: free(0x16),
            primary: free(0x0400_6172),
            exit: free(0x3_6dfb),
            entry: free(0x11fb),
            secondary: u64::from(u32::MAX) << 32,
            ept_vpid: u64::MAX,
        }
    }

    #[test]
    fn a_recent_cpu_gives_everything() {
        let c = choose(&recent()).unwrap();
        assert!(c.vpid && c.tpr_shadow && c.wbinvd && c.invept_single && c.large_1g);
        assert_eq!(c.pin & 0x16, 0x16, "what the CPU insists on");
        assert_eq!(c.primary & primary::CR3_LOAD, 0);
        assert_eq!(c.entry & entry::GUEST_64, 0, "as the guest's mode needs it");
    }

    #[test]
    fn what_is_missing_is_named() {
        let without = |bit: u32| !(u64::from(bit) << 32);
        let mut c = recent();
        c.secondary &= without(secondary::EPT);
        assert_eq!(choose(&c), Err(NO_EPT));
        let mut c = recent();
        c.primary &= without(primary::SECONDARY);
        assert_eq!(choose(&c), Err(NO_EPT));
        let mut c = recent();
        c.secondary &= without(secondary::UNRESTRICTED);
        assert_eq!(choose(&c), Err(NO_UNRESTRICTED));
        let mut c = recent();
        c.exit &= without(exit::LOAD_EFER);
        assert_eq!(choose(&c), Err(NO_CONTROL));
        let mut c = recent();
        c.ept_vpid &= !ept_vpid::WALK_4;
        assert_eq!(choose(&c), Err(NO_EPT_FORM));
    }

    #[test]
    fn it_lives_without_conveniences() {
        let mut c = recent();
        let plain = secondary::EPT | secondary::UNRESTRICTED;
        c.secondary = u64::from(plain) << 32;
        c.primary &= !(u64::from(primary::TPR_SHADOW) << 32);
        c.ept_vpid &= !(ept_vpid::INVEPT_SINGLE | ept_vpid::LARGE_1G);
        let c = choose(&c).unwrap();
        assert_eq!(c.secondary, plain);
        assert!(!c.vpid && !c.tpr_shadow && !c.invept_single && !c.large_1g);
        let cr8 = primary::CR8_LOAD | primary::CR8_STORE;
        assert_eq!(c.primary & cr8, cr8);
        let mut c = recent();
        c.ept_vpid &= !ept_vpid::INVVPID_ALL;
        assert!(!choose(&c).unwrap().vpid);
    }
}
