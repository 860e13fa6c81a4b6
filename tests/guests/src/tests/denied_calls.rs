// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that makes a call of the control domain is denied, each one, and
//! whatever the arguments are.

use hv_abi::{Caller, HYPERCALLS, Status};
use hv_guest::hypercall::raw;
use hv_guest::{Outcome, check_eq};

use crate::child;

fn child() -> Outcome {
    for row in HYPERCALLS.iter().filter(|row| row.caller == Caller::Control) {
        for args in [[0; 5], [1, 0, 0x8000, 1, 0], [0xffff; 5], [u64::MAX; 5]] {
            let answer = raw(row.number.into(), args);
            check_eq!(answer, (Status::Denied as u64, 0), "{} {args:x?}", row.name);
        }
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
