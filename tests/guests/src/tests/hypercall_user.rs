// SPDX-License-Identifier: MIT OR Apache-2.0
//! From user mode the instruction is #UD, as on a CPU without it.

use core::arch::asm;

use hv_guest::hypercall::{Door, door};
use hv_guest::{Outcome, check, trap};

use crate::child;

extern "C" fn vmcall() -> ! {
    // SAFETY: faults.
    unsafe { asm!("xor eax, eax", "vmcall", "int3", options(noreturn)) }
}

extern "C" fn vmmcall() -> ! {
    // SAFETY: faults.
    unsafe { asm!("xor eax, eax", "vmmcall", "int3", options(noreturn)) }
}

fn child() -> Outcome {
    for _ in 0..3 {
        let fault = match door() {
            Door::Vmcall => trap::user(vmcall),
            Door::Vmmcall => trap::user(vmmcall),
        };
        check!(fault.is_ud() && fault.user, "{fault:?}");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
