// SPDX-License-Identifier: MIT OR Apache-2.0
//! A granter is destroyed while a guest has its page mapped: the guest reads
//! on what was there, the granter stays as a shell, and goes with the unmap or
//! when the control domain takes its grants back by force.

use hv_abi::domain::{reason, state};
use hv_abi::grant::ALL;
use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, failure, grant, memory, ok};

use crate::grants::{self, DATA, WINDOW};
use crate::host;

fn mapper() -> Outcome {
    let granter = MAIL.to(0);
    let handle = ok!(grant::map(granter, 0, 1, WINDOW, 0));
    MAIL.answer(0, 1);
    check!(cpu::wait_until(10_000, || MAIL.to(1) != 0));
    check_eq!(memory::try_read(WINDOW), Ok(DATA));
    check_eq!(grant::map(granter, 0, 1, WINDOW + 0x1000, 0), Err(Status::Dying));
    check_eq!(grant::copy(grant::of(granter, 0, 0), grant::own(DATA), 8), Err(Status::Dying));
    if MAIL.to(1) == 1 {
        ok!(grant::unmap(handle));
        return Ok(());
    }
    MAIL.answer(0, 2);
    check!(cpu::wait_until(10_000, || MAIL.to(1) == 3));
    let read = memory::try_read(WINDOW);
    Err(failure!("the page is still there: {read:x?}"))
}

fn round(by_force: bool) -> Outcome {
    let free = ok!(host::host()).free_pages;
    let (mut a, b) = grants::granted(mapper, 0)?;
    let id = a.id;
    b.start()?;
    b.wait_for(0, 1)?;
    a.unmap()?;
    ok!(host::destroy(id));
    let info = ok!(host::domain(id));
    check!(info.state & state::DYING != 0 && info.pages == 1, "{} pages", info.pages);
    b.mail()?.tell(1, if by_force { 2 } else { 1 });
    if by_force {
        b.wait_for(0, 2)?;
        check_eq!(Hv.grant_revoke(id, ALL, 1), Ok(0));
        check_eq!(host::domain(id).map(|i| i.state), Err(Status::NotFound));
        b.mail()?.tell(1, 3);
        let info = b.expect_stop(reason::MEMORY_FAULT)?;
        check_eq!(info.code, WINDOW);
    } else {
        b.finish()?;
        check_eq!(host::domain(id).map(|i| i.state), Err(Status::NotFound));
    }
    b.destroy()?;
    check_eq!(ok!(host::host()).free_pages, free);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    round(false)?;
    round(true)
}
