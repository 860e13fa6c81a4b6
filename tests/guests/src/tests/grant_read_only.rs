// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page granted read-only can be read; the first write to it stops the
//! domain that mapped it, and has changed nothing.

use hv_abi::Status;
use hv_abi::domain::reason;
use hv_abi::grant::READ_ONLY;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, failure, grant, memory, ok};

use crate::grants::{self, DATA, WINDOW};

fn mapper() -> Outcome {
    check_eq!(grant::map(MAIL.to(0), 0, 1, WINDOW, 0), Err(Status::Denied), "for writing");
    ok!(grant::map(MAIL.to(0), 0, 1, WINDOW, READ_ONLY));
    check_eq!(memory::try_read(WINDOW + 8), Ok(DATA + 8));
    // SAFETY: no reference is to it.
    ok!(unsafe { memory::try_write(WINDOW + 8, 1) });
    Err(failure!("a read-only page was written"))
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::granted(mapper, READ_ONLY)?;
    b.start()?;
    let info = b.expect_stop(reason::MEMORY_FAULT)?;
    check_eq!(info.code, WINDOW + 8);
    b.destroy()?;
    check_eq!(memory::try_read(a.at(DATA + 8)?), Ok(DATA + 8), "the granter's page");
    a.destroy()
}
