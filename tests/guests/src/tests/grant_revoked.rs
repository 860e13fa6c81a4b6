// SPDX-License-Identifier: MIT OR Apache-2.0
//! A grant is revoked while its peer has it mapped and keeps touching it:
//! without force it stays, by force the peer stops at its next touch, with the
//! translation in its TLB or not.

use core::sync::atomic::Ordering;

use hv_abi::domain::reason;
use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, failure, grant, memory, ok};

use crate::grants::{self, DATA, WINDOW};

fn mapper() -> Outcome {
    ok!(grant::map(MAIL.to(0), 0, 1, WINDOW, 0));
    while MAIL.to(1) == 0 {
        ok!(memory::try_read(WINDOW));
        MAIL.from[0].fetch_add(1, Ordering::SeqCst);
    }
    Err(failure!("it still sees the page"))
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::granted(mapper, 0)?;
    b.start()?;
    b.wait_for(0, 100)?;
    check_eq!(Hv.grant_revoke(a.id, 0, 0), Err(Status::Busy));
    let seen = b.mail()?.from(0);
    b.wait_for(0, seen + 100)?;
    loop {
        match Hv.grant_revoke(a.id, 0, 1) {
            Ok(_) => break,
            Err(Status::Again) => {}
            Err(status) => return Err(failure!("{status:?}")),
        }
    }
    check_eq!(ok!(grant::query(a.id, 0)).uses, 0);
    let info = b.expect_stop(reason::MEMORY_FAULT)?;
    check!(info.code == WINDOW, "it stopped at {:#x}", info.code);
    check_eq!(memory::try_read(a.at(DATA)?), Ok(DATA));
    b.destroy()?;
    a.destroy()
}
