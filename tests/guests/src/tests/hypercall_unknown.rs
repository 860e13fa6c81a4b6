// SPDX-License-Identifier: MIT OR Apache-2.0
//! A number that is not in the table answers NoCall, with the value 0.

use hv_abi::{HYPERCALLS, Status};
use hv_guest::hypercall::raw;
use hv_guest::{Outcome, check_eq};

use crate::child;

fn child() -> Outcome {
    let known = |n: u64| HYPERCALLS.iter().any(|row| u64::from(row.number) == n);
    let high = [1 << 16, 1 << 32, 1 << 32 | 16, 1 << 63, u64::MAX];
    for number in (0..300).chain(high).filter(|n| !known(*n)) {
        check_eq!(raw(number, [u64::MAX; 5]), (Status::NoCall as u64, 0), "call {number:#x}");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child()?;
    child::run(child)
}
