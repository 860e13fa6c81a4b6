// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exits as the manual describes them.

use super::*;
use crate::exit::{GENERAL_PROTECTION, INVALID_OPCODE};

fn run(reason: u32, qualification: u64) -> (Meaning, Option<u64>) {
    decode(&Raw {
        reason,
        qualification,
        guest_physical: 0xfee0_0300,
        length: 2,
        rip: 0x1000,
        rax: 0xffff_ffff_5555_6666,
        rcx: 0xc000_0080,
        rdx: 0x1_1111_2222,
        ..Raw::default()
    })
}

#[test]
fn instructions() {
    let value = 0x1111_2222_5555_6666;
    let cases = [
        (10, Exit::Cpuid),
        (12, Exit::Halt),
        (18, Exit::Hypercall),
        (31, Exit::ReadMsr(0xc000_0080)),
        (32, Exit::WriteMsr(0xc000_0080, value)),
        (55, Exit::Xsetbv(0xc000_0080, value)),
        (40, Exit::Pause),
        (54, Exit::CacheFlush),
        (27, Exit::Refused("VMX instruction")),
    ];
    for (reason, exit) in cases {
        assert_eq!(run(reason, 0), (Meaning::Exit(exit), Some(0x1002)));
    }
}

#[test]
fn ports() {
    let out = PortAccess { port: 0x3f8, size: 1, write: true, string: false };
    assert_eq!(run(30, 0x03f8_0040), (Meaning::Exit(Exit::Port(out)), Some(0x1002)));
    let ins = PortAccess { port: 0x1f0, size: 2, write: false, string: true };
    assert_eq!(run(30, 0x01f0_0019).0, Meaning::Exit(Exit::Port(ins)));
    let dword = PortAccess { port: 0xcf8, size: 4, write: false, string: false };
    assert_eq!(run(30, 0x0cf8_000b).0, Meaning::Exit(Exit::Port(dword)));
}

#[test]
fn faults() {
    let write = MemoryAccess { gpa: 0xfee0_0300, write: true, fetch: false, present: false };
    assert_eq!(run(48, 0x182), (Meaning::Exit(Exit::Memory(write)), None));
    let fetch = MemoryAccess { write: false, fetch: true, present: true, ..write };
    assert_eq!(run(48, 0x9c).0, Meaning::Exit(Exit::Memory(fetch)));
    // A malformed entry of ours stops the domain.
    assert!(matches!(run(49, 0).0, Meaning::Exit(Exit::Failed(_, 0xfee0_0300))));
    let raw = Raw { event: 0x8000_0b11, error: 0, ..Raw::default() };
    let alignment = Exit::Exception { vector: 17, error: Some(0) };
    assert_eq!(decode(&raw), (Meaning::Exit(alignment), None));
    let debug = Exit::Exception { vector: 1, error: None };
    let step = Raw { event: 0x8000_0301, rip: 0x1000, length: 3, ..Raw::default() };
    assert_eq!(decode(&step), (Meaning::Exit(debug), None), "RIP is where it has to be");
    let int1 = Raw { event: 0x8000_0501, length: 1, ..step };
    assert_eq!(decode(&int1), (Meaning::Exit(debug), Some(0x1001)), "RIP is at the INT1");
    let raw = Raw { event: 0x8000_0202, ..Raw::default() };
    assert_eq!(decode(&raw).0, Meaning::Exit(Exit::Nmi));
    assert_eq!(run(2, 0).0, Meaning::Exit(Exit::Shutdown));
}

#[test]
fn control_registers() {
    let to = Control { register: 0, read: false, general: 3 };
    assert_eq!(run(28, 0x300), (Meaning::Control(to), Some(0x1002)));
    let from = Control { register: 8, read: true, general: 15 };
    assert_eq!(run(28, 0xf18).0, Meaning::Control(from));
}

#[test]
fn refusals_and_strangers() {
    assert_eq!(run(0x8000_0021, 0).0, Meaning::EntryFailed(33));
    assert_eq!(run(63, 0).0, Meaning::Exit(Exit::Unknown(63)));
    assert_eq!(run(8, 0).0, Meaning::NmiWindow);
}

#[test]
fn events_come_back_as_they_went() {
    for event in [Event::Interrupt(0x31), Event::Nmi, GENERAL_PROTECTION, INVALID_OPCODE] {
        let (info, error) = inject(event, true);
        assert_eq!(cut_short(info, error), Some(event));
    }
    assert_eq!(inject(GENERAL_PROTECTION, true), (0x8000_0b0d, 0));
    assert_eq!(inject(Event::Exception(14, Some(7)), true), (0x8000_0b0e, 7));
    assert_eq!(inject(GENERAL_PROTECTION, false), (0x8000_030d, 0), "real mode");
    assert_eq!(cut_short(0x8000_0480, 0), None, "INT 0x80 runs again");
    assert_eq!(cut_short(0x8000_0603, 0), None, "INT3 runs again");
    assert_eq!(cut_short(0x31, 0), None);
}

#[test]
fn an_iret_that_faults_leaves_nmis_blocked() {
    let violation = Raw { reason: 48, qualification: 1 << 12, ..Raw::default() };
    assert!(nmi_still_blocked(&violation, 0));
    assert!(!nmi_still_blocked(&violation, 0x8000_0202));
    assert!(!nmi_still_blocked(&Raw { reason: 10, ..violation }, 0));
}
