// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual local APIC by itself: priorities, timer, commands, registers.

use crate::lapic::{Action, Bits256, Command, Lapic};

const TPR: u32 = 0x808;
const EOI: u32 = 0x80b;

#[test]
fn priorities_hold_back_and_release() {
    let mut apic = Lapic::new(3, false);
    let mut bits = Bits256::default();
    bits.set(0x31);
    bits.set(0x52);
    apic.accept(bits);
    assert_eq!(apic.deliverable(0), Some(0x52));
    assert_eq!(apic.deliverable(0x50), None);
    apic.delivered(0x52);
    assert_eq!(apic.deliverable(0), None);
    assert_eq!(apic.write(EOI, 0, 0), Action::Ended(0x52));
    assert_eq!(apic.deliverable(0), Some(0x31));
    assert_eq!(apic.write(EOI, 1, 0), Action::Fault);
    assert_eq!(apic.write(TPR, 0x20, 0), Action::Priority(0x20));
    assert_eq!(apic.write(TPR, 0x100, 0), Action::Fault);
}

#[test]
fn only_the_task_priority_holds_back() {
    let mut apic = Lapic::new(0, true);
    let mut bits = Bits256::default();
    bits.set(0x52);
    apic.accept(bits);
    assert_eq!(apic.held_back(0x50), Some(5));
    assert_eq!(apic.held_back(0xf0), Some(5));
    assert_eq!(apic.held_back(0x40), None, "it is deliverable");
    bits.set(0x5f);
    apic.delivered(0x5f);
    assert_eq!(apic.held_back(0x50), None, "one in service holds it back");
}

#[test]
fn what_is_shown_changes_only_by_writes() {
    let mut apic = Lapic::new(3, false);
    let mut shown = std::vec::Vec::new();
    (0x800..0x900).for_each(|msr| apic.show(msr, &mut |n, value| shown.push((n, value))));
    let registers: std::vec::Vec<u32> = shown.iter().map(|s| s.0).collect();
    let all =
        [0x02, 0x03, 0x0d, 0x0f, 0x28, 0x2f, 0x30, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x3e];
    assert_eq!(registers, all);
    assert!(shown.contains(&(0x02, 3)));
    assert_eq!(apic.write(0x832, 0x400ec, 0), Action::None);
    apic.show(0x832, &mut |n, value| assert_eq!((n, value), (0x32, 0x400ec)));
}

#[test]
fn the_timer_fires_in_each_mode() {
    let mut apic = Lapic::new(0, true);
    // TSC deadline.
    assert_eq!(apic.write(0x832, 2 << 17 | 0xec, 0), Action::None);
    apic.set_tsc_deadline(1000);
    apic.poll_timer(999);
    assert_eq!(apic.deliverable(0), None);
    apic.poll_timer(1000);
    assert_eq!(apic.deliverable(0), Some(0xec));
    assert_eq!((apic.deadline(), apic.tsc_deadline()), (None, 0));
    apic.delivered(0xec);
    let _ = apic.write(EOI, 0, 0);
    // Periodic, divided by two.
    assert_eq!(apic.write(0x832, 1 << 17 | 0x40, 0), Action::None);
    assert_eq!(apic.write(0x838, 100_000, 5000), Action::None);
    assert_eq!(apic.deadline(), Some(205_000));
    apic.poll_timer(655_000);
    assert_eq!(apic.deadline(), Some(805_000));
    assert_eq!(apic.deliverable(0), Some(0x40));
    // Changing the mode disarms.
    assert_eq!(apic.write(0x832, 0x40, 0), Action::None);
    assert_eq!(apic.deadline(), None);
}

#[test]
fn a_tiny_period_has_a_floor() {
    let mut apic = Lapic::new(0, true);
    assert_eq!(apic.write(0x832, 1 << 17 | 0x40, 0), Action::None);
    assert_eq!(apic.write(0x838, 1, 5000), Action::None);
    // 100 microseconds; the count never shows more than was set.
    assert_eq!(apic.deadline(), Some(105_000));
    assert_eq!(apic.read(0x839, 0, 5001), Some(1));
    apic.poll_timer(105_000);
    assert_eq!(apic.deadline(), Some(205_000));
    // A single shot has none.
    assert_eq!(apic.write(0x832, 0x40, 0), Action::None);
    assert_eq!(apic.write(0x838, 1, 5000), Action::None);
    assert_eq!(apic.deadline(), Some(5002));
}

#[test]
fn commands_reach_whom_they_name() {
    let to = |icr| Command::decode(icr);
    assert!(to(5 << 32 | 0x30).reaches(5, 0));
    assert!(!to(5 << 32 | 0x30).reaches(4, 0));
    assert!(to(0xffff_ffff << 32).reaches(9, 0));
    let all_but_self = to(3 << 18);
    assert!(all_but_self.reaches(1, 0) && !all_but_self.reaches(0, 0));
    // Logical: cluster 1, members 0 and 2, so ids 16 and 18.
    let logical = to((1 << 16 | 0b101) << 32 | 1 << 11);
    assert!(logical.reaches(16, 0) && logical.reaches(18, 0));
    assert!(!logical.reaches(17, 0) && !logical.reaches(0, 0));
}

#[test]
fn registers_that_do_not_exist_fault() {
    let apic = Lapic::new(0, true);
    assert_eq!(apic.read(0x801, 0, 0), None);
    assert_eq!(apic.read(0x80e, 0, 0), None);
    assert_eq!(apic.read(0x8ff, 0, 0), None);
    assert_eq!(apic.read(0x802, 0, 0), Some(0));
}
