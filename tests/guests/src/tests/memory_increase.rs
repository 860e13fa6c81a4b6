// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest gives pages back and gets fresh ones, zeroed, up to its limit.

use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::{Outcome, check_eq, memory, ok};

use crate::child::{Child, EXTENT, Spec};
use crate::grants::{self, DATA};

fn child() -> Outcome {
    check_eq!(Hv.memory_increase(DATA << 4, 1), Err(Status::Limit), "at its limit");
    // SAFETY: spare memory.
    unsafe { memory::stamp(DATA, 0x8000, 1) };
    ok!(Hv.memory_release(DATA + 0x1000, 4));
    for (at, pages, wanted) in [
        (DATA + 0x1001, 1, Status::Invalid),
        (DATA + 0x1000, 0, Status::Invalid),
        (!4095, 1, Status::Invalid),
        (1 << 47, 1, Status::Invalid),
        (DATA, 1, Status::Exists),
        (DATA + 0x1000, 5, Status::Limit),
    ] {
        check_eq!(Hv.memory_increase(at, pages), Err(wanted), "{at:#x}, {pages}");
    }
    check_eq!(Hv.memory_increase(DATA + 0x1000, 3), Ok(3));
    check_eq!(Hv.memory_increase(DATA << 4, 1), Ok(1));
    for at in [DATA + 0x1000, DATA + 0x3ff8, DATA << 4] {
        check_eq!(memory::try_read(at), Ok(0), "{at:#x} is not zero");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { spare: EXTENT, ..Spec::new(child) })?;
    grants::spare(&child)?;
    child.start()?;
    child.finish()?;
    check_eq!(Hv.memory_increase(0, 1), Err(Status::Invalid), "the control domain");
    child.destroy()
}
