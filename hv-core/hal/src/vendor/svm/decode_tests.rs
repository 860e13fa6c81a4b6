// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exits as the manual describes them.

use super::*;
use crate::exit::{GENERAL_PROTECTION, INVALID_OPCODE};
use zerocopy::FromZeros;

fn block(code: u64, info1: u64, info2: u64) -> Vmcb {
    let mut vmcb = Vmcb::new_zeroed();
    vmcb.control.exit_code = code;
    vmcb.control.exit_info1 = info1;
    vmcb.control.exit_info2 = info2;
    vmcb.save.rip = 0x1000;
    vmcb.save.rax = 0xffff_ffff_5555_6666;
    vmcb
}

fn run(code: u64, info1: u64, info2: u64) -> (Meaning, Option<u64>) {
    decode(&block(code, info1, info2), 0xc000_0080, 0x1_1111_2222, false)
}

#[test]
fn instructions() {
    let value = 0x1111_2222_5555_6666;
    let cases = [
        (0x72, 0, Exit::Cpuid, 0x1002),
        (0x78, 0, Exit::Halt, 0x1001),
        (0x81, 0, Exit::Hypercall, 0x1003),
        (0x7c, 0, Exit::ReadMsr(0xc000_0080), 0x1002),
        (0x7c, 1, Exit::WriteMsr(0xc000_0080, value), 0x1002),
        (0x8d, 0, Exit::Xsetbv(0xc000_0080, value), 0x1003),
        (0x77, 0, Exit::Pause, 0x1002),
        (0x80, 0, Exit::Refused("VMRUN"), 0x1003),
    ];
    for (code, info, exit, next) in cases {
        assert_eq!(run(code, info, 0), (Meaning::Exit(exit), Some(next)));
    }
}

#[test]
fn the_cpu_knows_better_where_the_next_instruction_is() {
    let mut vmcb = block(0x72, 0, 0);
    vmcb.control.next_rip = 0x1003;
    assert_eq!(decode(&vmcb, 0, 0, true).1, Some(0x1003));
    assert_eq!(decode(&vmcb, 0, 0, false).1, Some(0x1002));
}

#[test]
fn ports() {
    let out = PortAccess { port: 0x3f8, size: 1, write: true, string: false };
    assert_eq!(run(0x7b, 0x03f8_0010, 0x1001), (Meaning::Exit(Exit::Port(out)), Some(0x1001)));
    let ins = PortAccess { port: 0x1f0, size: 2, write: false, string: true };
    assert_eq!(run(0x7b, 0x01f0_002d, 0x1002).0, Meaning::Exit(Exit::Port(ins)));
    let dword = PortAccess { port: 0xcf8, size: 4, write: false, string: false };
    assert_eq!(run(0x7b, 0x0cf8_0041, 0x1001).0, Meaning::Exit(Exit::Port(dword)));
}

#[test]
fn faults() {
    let write = MemoryAccess { gpa: 0xfee0_0300, write: true, fetch: false, present: false };
    assert_eq!(run(0x400, 1 << 32 | 6, 0xfee0_0300), (Meaning::Exit(Exit::Memory(write)), None));
    let fetch = MemoryAccess { gpa: 0x5000, write: false, fetch: true, present: true };
    assert_eq!(run(0x400, 0x15, 0x5000).0, Meaning::Exit(Exit::Memory(fetch)));
    let alignment = Exit::Exception { vector: 17, error: Some(0) };
    assert_eq!(run(0x51, 0, 0), (Meaning::Exit(alignment), None));
    assert_eq!(run(0x41, 0, 0).0, Meaning::Exit(Exit::Exception { vector: 1, error: None }));
    assert_eq!(run(0x7f, 0, 0).0, Meaning::Exit(Exit::Shutdown));
}

#[test]
fn refusals_and_strangers() {
    assert_eq!(run(u64::MAX, 0, 0).0, Meaning::Invalid);
    assert_eq!(run(0xffff_ffff, 0, 0).0, Meaning::Invalid, "as QEMU 7.2 stores it");
    assert_eq!(run(0x90, 0, 0).0, Meaning::Exit(Exit::Unknown(0x90)));
    assert_eq!(run(0x74, 0, 0).0, Meaning::Iret);
    assert_eq!(run(0x18, 0, 0), (Meaning::Priority, None));
}

#[test]
fn events_come_back_as_they_went() {
    for event in [Event::Interrupt(0x31), Event::Nmi, GENERAL_PROTECTION, INVALID_OPCODE] {
        assert_eq!(cut_short(inject(event, true)), Some(event));
    }
    assert_eq!(inject(GENERAL_PROTECTION, true), 0x8000_0b0d);
    assert_eq!(inject(Event::Exception(14, Some(7)), true), 0x7_8000_0b0e);
    assert_eq!(cut_short(0x8000_0480), None, "INT 0x80 runs again");
    assert_eq!(cut_short(0x8000_0303), None, "INT3 runs again");
    assert_eq!(cut_short(0x31), None);
}
