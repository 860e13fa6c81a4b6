// SPDX-License-Identifier: MIT OR Apache-2.0
//! MSRs: what a guest has not got is #GP, read or written, without harm;
//! what it has keeps what is written, and refuses what a CPU would refuse.

use hv_guest::cpu::{try_rdmsr, try_wrmsr};
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child;

/// SMM base, performance counters, debug store, microcode, VMX, RTIT, the
/// core's own secrets, HSAVE, IBS, holes.
const NONE: [u32; 26] = [
    0x9b,
    0xc1,
    0x186,
    0x187,
    0x38f,
    0x3f1,
    0x600,
    0x480,
    0x48b,
    0x491,
    0x570,
    0x1c9,
    0xc001_0117,
    0xc001_0114,
    0xc001_1030,
    0xc001_0000,
    0xc001_0111,
    0x3a,
    0x122,
    0x10a,
    0x4000_0000,
    0x4000_0070,
    0xdead_beef,
    0xffff_ffff,
    0xc000_0104,
    0x1fff_ffff,
];

/// Registers of the vCPU that hold any canonical address.
const HOLD: [u32; 6] = [0xc000_0082, 0xc000_0083, 0x175, 0x176, 0xc000_0100, 0xc000_0102];

fn child() -> Outcome {
    for index in NONE {
        let read = try_rdmsr(index);
        check!(read.is_err_and(|f| f.is_gp()), "read of {index:#x}: {read:x?}");
        let write = try_wrmsr(index, 1);
        check!(write.is_err_and(|f| f.is_gp()), "write of {index:#x}: {write:?}");
    }
    for index in HOLD {
        let old = ok!(try_rdmsr(index));
        for value in [0, 0x7fff_ffff_f000, 0xffff_8000_0000_1000] {
            ok!(try_wrmsr(index, value));
            check_eq!(try_rdmsr(index), Ok(value), "{index:#x}");
        }
        ok!(try_wrmsr(index, old));
    }
    efer()?;
    // APIC base: neither move nor mode.
    let base = ok!(try_rdmsr(0x1b));
    check_eq!(base & 0xc00, 0xc00, "x2APIC mode");
    for value in [base & !0x400, base & !0xc00, base ^ 0x1000, base | 1 << 60] {
        check!(try_wrmsr(0x1b, value).is_err_and(|f| f.is_gp()), "APIC base {value:#x}");
    }
    ok!(try_wrmsr(0x1b, base));
    // Microcode revision can be asked for as kernels do.
    ok!(try_wrmsr(0x8b, 0));
    ok!(try_rdmsr(0x8b));
    Ok(())
}

fn efer() -> Outcome {
    const EFER: u32 = 0xc000_0080;
    let efer = ok!(try_rdmsr(EFER));
    check_eq!(efer & 0x1500, 0x500, "LME and LMA, no SVME");
    // SVME, reserved bits, leaving long mode under paging.
    for value in [efer | 1 << 12, efer | 1 << 9, efer | 1 << 32, efer & !(1 << 8)] {
        let write = try_wrmsr(EFER, value);
        check!(write.is_err_and(|f| f.is_gp()), "EFER {value:#x}: {write:?}");
    }
    ok!(try_wrmsr(EFER, efer | 1));
    check_eq!(try_rdmsr(EFER), Ok(efer | 1));
    ok!(try_wrmsr(EFER, efer));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
