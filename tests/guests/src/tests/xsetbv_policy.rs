// SPDX-License-Identifier: MIT OR Apache-2.0
//! XSETBV: what CPUID offers can be set and reads back; contradictions,
//! reserved bits, other registers and user mode are #GP.

use core::arch::asm;

use hv_guest::cpu::{self, cpuid, xsetbv};
use hv_guest::trap::{self, catch};
use hv_guest::{Outcome, check, check_eq, ok, skip};

use crate::child;

extern "C" fn from_user() -> ! {
    // SAFETY: faults.
    unsafe {
        asm!("xor ecx, ecx", "xor edx, edx", "mov eax, 1", "xsetbv", "ud2", options(noreturn))
    }
}

fn child() -> Outcome {
    if cpuid(1, 0)[2] >> 26 & 1 == 0 {
        return Err(skip!("no XSAVE"));
    }
    check!(catch(|| xsetbv(0, 1)).is_err_and(|f| f.is_ud()), "XSETBV without CR4.OSXSAVE");
    cpu::set_cr4(cpu::cr4() | 1 << 18);
    check_eq!(cpu::xcr0(), 1);
    let [low, _, _, high] = cpuid(0xd, 0);
    let offered = u64::from(high) << 32 | u64::from(low);
    check!(offered & 3 == 3, "XCR0 offers {offered:#x}");
    for value in [3, 1, offered, 1] {
        ok!(catch(|| xsetbv(0, value)));
        check_eq!(cpu::xcr0(), value);
    }
    for (index, value) in
        [(0, 0), (0, 2), (0, 5), (0, 1 << 63 | 1), (0, !0), (0, 1 << 62 | 3), (1, 1), (7, 1)]
    {
        let set = catch(|| xsetbv(index, value));
        check!(set.is_err_and(|f| f.is_gp()), "XCR{index} = {value:#x}: {set:?}");
        check_eq!(cpu::xcr0(), 1, "after XCR{index} = {value:#x}");
    }
    for bit in 0..63 {
        if offered >> bit & 1 == 0 {
            let set = catch(|| xsetbv(0, 3 | 1 << bit));
            check!(set.is_err_and(|f| f.is_gp()), "XCR0 bit {bit} is not offered");
        }
    }
    let fault = trap::user(from_user);
    check!(fault.is_gp() && fault.user, "from user mode: {fault:?}");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
