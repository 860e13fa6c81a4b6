// SPDX-License-Identifier: MIT OR Apache-2.0
//! Canary scan: what a domain left in its memory is not seen by the next
//! domain that gets the frames.

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, memory, ok};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

const AT: u64 = 0x400_0000;
const PAGES: u64 = 3 * EXTENT + 7;

fn child() -> Outcome {
    // SAFETY: memory of the child that nothing else uses.
    unsafe {
        let found = memory::first_other(AT, PAGES * 4096, |_| 0);
        check!(found.is_none(), "found {found:x?}");
        memory::stamp(AT, PAGES * 4096, MAIL.to(0));
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    for round in 0..3 {
        let guest = Child::with(&Spec { spare: PAGES, ..Spec::new(child) })?;
        ok!(host::populate(guest.id, AT, PAGES));
        guest.mail()?.tell(0, 0xc0de_0000 + round);
        guest.start()?;
        guest.finish()?;
        guest.destroy()?;
    }
    Ok(())
}
