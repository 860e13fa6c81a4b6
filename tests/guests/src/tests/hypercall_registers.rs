// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hypercall changes rax and rdx and no other register, flags included.

use core::arch::asm;

use hv_guest::hypercall::{Door, door};
use hv_guest::{Outcome, check_eq};

use crate::child;

/// Registers in the order rax rcx rdx rsi rdi r8 … r15, then the flags.
fn make(values: &mut [u64; 14]) {
    macro_rules! through {
        ($instruction:literal) => {
            // SAFETY: Version reads and writes no memory; all registers that
            // are loaded here are declared, rbx and rbp apart, which stay.
            unsafe {
                asm!(
                    "push {flags}",
                    "popfq",
                    $instruction,
                    "pushfq",
                    "pop {flags}",
                    "cld",
                    flags = inout(reg) values[13],
                    inout("rax") values[0],
                    inout("rcx") values[1],
                    inout("rdx") values[2],
                    inout("rsi") values[3],
                    inout("rdi") values[4],
                    inout("r8") values[5],
                    inout("r9") values[6],
                    inout("r10") values[7],
                    inout("r11") values[8],
                    inout("r12") values[9],
                    inout("r13") values[10],
                    inout("r14") values[11],
                    inout("r15") values[12],
                )
            }
        };
    }
    match door() {
        Door::Vmcall => through!("vmcall"),
        Door::Vmmcall => through!("vmmcall"),
    }
}

fn child() -> Outcome {
    for flags in [0x002, 0x8d7, 0x402] {
        let mut values = [0u64; 14];
        for (value, i) in values.iter_mut().zip(1u64..) {
            *value = i * 0x0123_4567_89ab_cdef;
        }
        values[0] = 0;
        values[13] = flags;
        let mut wanted = values;
        wanted[2] = u64::from(hv_abi::ABI_VERSION);
        make(&mut values);
        check_eq!(values, wanted);
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
