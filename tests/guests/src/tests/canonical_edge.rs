// SPDX-License-Identifier: MIT OR Apache-2.0
//! An instruction that exits, in the last bytes of the lower half of the
//! address space: behind it there is no address, and the vCPU gets #GP, as on
//! a CPU. (VT-x refuses to enter with such an instruction pointer: a core that
//! tries stops the whole domain for what one process did.)

use core::arch::asm;

use hv_guest::trap::{catch, vector};
use hv_guest::{Outcome, check, check_eq, cpu, failure, start};

use crate::child::{self, EXTENT};

/// Pages of the first extent that nothing else uses.
const TABLES: u64 = 0x10_0000;
const CODE: u64 = TABLES + 4 * 4096;
/// The last two bytes of the lower half.
const EDGE: u64 = 0x7fff_ffff_fffe;
const RIGHTS: u64 = 7;

const _: () = assert!(CODE + 4096 <= EXTENT * 4096);

/// Tables like ours that map the last page of the lower half as well.
fn tables() -> u64 {
    let word = |page: u64, index: u64| (TABLES + page * 4096 + index * 8) as *mut u64;
    // SAFETY: the child's own memory below 2 MiB, used by nothing else; the
    // old root is read only.
    unsafe {
        for index in 0..512u64 {
            word(0, index).write_volatile((start::tables() as *const u64).add(index as usize).read());
        }
        word(0, 255).write_volatile((TABLES + 4096) | RIGHTS);
        word(1, 511).write_volatile((TABLES + 2 * 4096) | RIGHTS);
        word(2, 511).write_volatile((TABLES + 3 * 4096) | RIGHTS);
        word(3, 511).write_volatile(CODE | RIGHTS);
    }
    TABLES
}

fn at_the_edge(code: [u8; 2]) -> Outcome {
    // SAFETY: the page that only this test uses.
    unsafe { ((CODE + 0xffe) as *mut [u8; 2]).write_volatile(code) };
    let fault = catch(|| {
        // SAFETY: the bytes there are one instruction that changes rax to rdx
        // and rbx, and what follows it faults.
        unsafe {
            asm!("push rbx", "xor eax, eax", "xor ecx, ecx", "jmp rsi", in("rsi") EDGE,
                options(noreturn))
        }
    });
    let Err(fault) = fault;
    check_eq!((fault.vector, fault.error), (vector::GENERAL_PROTECTION, 0), "{fault:x?}");
    check!(
        fault.rip == EDGE + 2 || fault.rip == 0xffff_8000_0000_0000,
        "{code:x?}: #GP at {:#x}",
        fault.rip
    );
    Ok(())
}

fn child() -> Outcome {
    cpu::set_cr3(tables());
    // CPUID, WBINVD: both exit and are gone past.
    let outcome = at_the_edge([0x0f, 0xa2]).and_then(|()| at_the_edge([0x0f, 0x09]));
    cpu::set_cr3(start::tables());
    outcome.map_err(|verdict| failure!("{verdict:?}"))
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
