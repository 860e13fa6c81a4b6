// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability MSRs of several kinds of CPUs, and what is chosen on each.

use super::*;
use crate::vendor::regs::{cr0, cr4};

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
        // HLT, shutdown and wait-for-SIPI; events of length 0.
        misc: 7 << 6 | 1 << 30,
        cr0_fixed0: cr0::PE | cr0::NE | cr0::PG,
        cr0_fixed1: 0xffff_ffff,
        cr4_fixed0: cr4::VMXE,
        cr4_fixed1: 0x37_ffff,
    }
}

fn without(bit: u32) -> u64 {
    !(u64::from(bit) << 32)
}

fn all(c: &Capabilities) -> Result<Controls, &'static str> {
    choose(c, Assist::ALL)
}

#[test]
fn a_recent_cpu_gives_everything() {
    let c = all(&recent()).unwrap();
    assert!(c.vpid && c.wbinvd && c.invept_single && c.large_1g && c.acknowledges);
    assert_eq!(c.assist, Assist::ALL);
    assert_eq!(c.pin & 0x16, 0x16, "what the CPU insists on");
    assert_eq!(c.primary & primary::CR3_LOAD, 0);
    assert_eq!(c.primary & primary::CR8_LOAD, 0);
    assert_eq!(c.entry & entry::GUEST_64, 0, "as the guest's mode needs it");
}

#[test]
fn what_is_missing_is_named() {
    let mut c = recent();
    c.secondary &= without(secondary::EPT);
    assert_eq!(all(&c), Err(NO_EPT));
    let mut c = recent();
    c.primary &= without(primary::SECONDARY);
    assert_eq!(all(&c), Err(NO_EPT));
    let mut c = recent();
    c.secondary &= without(secondary::UNRESTRICTED);
    assert_eq!(all(&c), Err(NO_UNRESTRICTED));
    let mut c = recent();
    c.exit &= without(exit::LOAD_EFER);
    assert_eq!(all(&c), Err(NO_CONTROL));
    let mut c = recent();
    c.ept_vpid &= !ept_vpid::WALK_4;
    assert_eq!(all(&c), Err(NO_EPT_FORM));
    let mut c = recent();
    c.primary &= without(primary::TPR_SHADOW) & without(primary::CR8_LOAD);
    assert_eq!(all(&c), Err(NO_CONTROL), "CR8 can neither be shadowed nor caught");
}

#[test]
fn it_lives_without_conveniences() {
    let mut c = recent();
    let plain = secondary::EPT | secondary::UNRESTRICTED;
    c.secondary = u64::from(plain) << 32;
    c.primary &= without(primary::TPR_SHADOW);
    c.exit &= without(exit::ACKNOWLEDGE);
    c.ept_vpid &= !(ept_vpid::INVEPT_SINGLE | ept_vpid::LARGE_1G);
    let c = all(&c).unwrap();
    assert_eq!(c.secondary, plain);
    assert!(!c.vpid && !c.invept_single && !c.large_1g && !c.acknowledges);
    assert_eq!(c.assist, Assist::NONE);
    let cr8 = primary::CR8_LOAD | primary::CR8_STORE;
    assert_eq!(c.primary & cr8, cr8);
    let mut c = recent();
    c.ept_vpid &= !ept_vpid::INVVPID_ALL;
    assert!(!all(&c).unwrap().vpid);
}

#[test]
fn each_part_of_the_virtual_apic_can_be_left_out() {
    let c = recent();
    let none = choose(&c, Assist::NONE).unwrap();
    assert_eq!(none.primary & primary::TPR_SHADOW, 0);
    let apic = secondary::X2APIC | secondary::APIC_REGISTERS | secondary::DELIVERY;
    assert_eq!((none.secondary & apic, none.pin & pin::POSTED), (0, 0));
    // A part without one that it needs is left out as well.
    let want = Assist { registers: false, ..Assist::ALL };
    let got = choose(&c, want).unwrap();
    assert_eq!(got.assist, Assist { tpr: true, ..Assist::NONE });
    assert_eq!(got.secondary & apic, 0);
    let want = Assist { posting: false, ..Assist::ALL };
    assert_eq!(choose(&c, want).unwrap().assist, want);
    // So is one that the CPU has not.
    let mut c = recent();
    c.pin &= without(pin::POSTED);
    assert_eq!(all(&c).unwrap().assist, want);
    c.secondary &= without(secondary::DELIVERY);
    let got = all(&c).unwrap();
    assert_eq!(got.assist, Assist { delivery: false, ..want });
    assert_eq!(got.secondary & apic, secondary::X2APIC | secondary::APIC_REGISTERS);
}

#[test]
fn firmware_may_forbid() {
    assert_eq!(firmware(None), Firmware::Allows);
    assert_eq!(firmware(Some(5)), Firmware::Allows);
    assert_eq!(firmware(Some(1)), Firmware::Forbids);
    assert_eq!(firmware(Some(3)), Firmware::Forbids, "inside SMX only");
    assert_eq!(firmware(Some(0)), Firmware::LeavesOpen(5));
    assert_eq!(firmware(Some(0xff00)), Firmware::LeavesOpen(0xff05));
}
