// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every debug key writes lines into the log, and others are refused.

use hv_abi::host::debug_key;
use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, grant, ok};

use crate::grants::{self, WINDOW};

fn mapper() -> Outcome {
    ok!(grant::map(MAIL.to(0), 0, 1, WINDOW, 0));
    MAIL.answer(0, 1);
    loop {
        hv_guest::cpu::hlt();
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::granted(mapper, 0)?;
    b.start()?;
    b.wait_for(0, 1)?;
    for key in 0..debug_key::NAMES.len() as u64 {
        let lines = ok!(Hv.debug_key(key));
        let least = if key == debug_key::QUEUES { 1 } else { 3 };
        check!(lines >= least, "key {key}: {lines} lines");
    }
    for key in [debug_key::NAMES.len() as u64, u64::MAX] {
        check_eq!(Hv.debug_key(key), Err(Status::Invalid));
    }
    b.destroy()?;
    a.destroy()
}
