// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other vendor's hypercall instruction is #UD, not a call.

use core::arch::asm;

use hv_guest::hypercall::{Door, door};
use hv_guest::trap::catch;
use hv_guest::{Outcome, check};

use crate::child;

fn child() -> Outcome {
    let caught = catch(|| match door() {
        // SAFETY: faults, or is a Version call that changes rax and rdx.
        Door::Vmcall => unsafe { asm!("vmmcall", inout("rax") 0 => _, out("rdx") _) },
        // SAFETY: as above.
        Door::Vmmcall => unsafe { asm!("vmcall", inout("rax") 0 => _, out("rdx") _) },
    });
    check!(caught.is_err_and(|fault| fault.is_ud()), "{caught:?}");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
