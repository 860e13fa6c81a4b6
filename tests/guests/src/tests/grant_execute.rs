// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mapped by a grant can't be executed: the domain that jumps there
//! stops at that address.

use hv_abi::domain::reason;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, failure, grant, ok};

use crate::grants::{self, WINDOW};

fn mapper() -> Outcome {
    ok!(grant::map(MAIL.to(0), 0, 1, WINDOW, 0));
    // SAFETY: stops this domain; should it not, there is no code.
    let code = unsafe { core::mem::transmute::<u64, extern "C" fn()>(WINDOW) };
    code();
    Err(failure!("a granted page was executed"))
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::granted(mapper, 0)?;
    b.start()?;
    let info = b.expect_stop(reason::MEMORY_FAULT)?;
    check_eq!(info.code, WINDOW);
    b.destroy()?;
    a.destroy()
}
