// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest gives memory back and gets other: the host's count moves by just
//! that, the new pages are zero, and the guest sees what it kept.

use hv_abi::Hypercall as H;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, memory, ok};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

const BALLOON: u64 = 0x400_0000;
const SALT: u64 = 0x5a5a_5a5a_0000_0000;
const GIVEN: u64 = 200;

fn child() -> Outcome {
    // SAFETY: memory of the child that nothing else uses.
    unsafe { memory::stamp(BALLOON, EXTENT * 4096, SALT) };
    for round in 1..=2 {
        let mut done = 0;
        while done < GIVEN {
            let gpa = BALLOON + (100 + done) * 4096;
            done += ok!(call(H::MemoryRelease { gpa, pages: GIVEN - done }));
        }
        MAIL.answer(0, round);
        check!(cpu::wait_until(10_000, || MAIL.to(0) == round));
        let kept = |at: u64| at ^ SALT;
        // SAFETY: the runner has given it back.
        let wrong = unsafe {
            memory::first_other(BALLOON, 100 * 4096, kept)
                .or(memory::first_other(BALLOON + 100 * 4096, GIVEN * 4096, |_| 0))
                .or(memory::first_other(BALLOON + 300 * 4096, 212 * 4096, kept))
        };
        check!(wrong.is_none(), "round {round}: {wrong:x?}");
        // SAFETY: as above.
        unsafe { memory::stamp(BALLOON, EXTENT * 4096, SALT) };
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { spare: EXTENT, ..Spec::new(child) })?;
    ok!(host::populate(child.id, BALLOON, EXTENT));
    let (pages, free) = (child.info()?.pages, ok!(host::host()).free_pages);
    child.start()?;
    for round in 1..=2 {
        child.wait_for(0, round)?;
        check_eq!(child.info()?.pages, pages - GIVEN);
        let gained = ok!(host::host()).free_pages as i64 - free as i64;
        // The split of the large leaf took a page for its table, once.
        check!((199..=200).contains(&gained), "the host gained {gained} pages");
        ok!(host::populate(child.id, BALLOON + 100 * 4096, GIVEN));
        check_eq!(child.info()?.pages, pages);
        child.mail()?.tell(0, round);
    }
    child.finish()?;
    child.destroy()
}
