// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version answers the interface's version, to a guest and the control domain.

use hv_abi::{ABI_VERSION, Hypercall};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check_eq};

use crate::child;

fn version() -> Outcome {
    check_eq!(call(Hypercall::Version {}), Ok(u64::from(ABI_VERSION)));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    version()?;
    child::run(version)
}
