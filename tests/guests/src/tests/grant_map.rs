// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two guests share a page by a grant: what one writes the other reads, both
//! ways; after the unmap neither the page nor the handle is there.

use hv_abi::Status;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, grant, memory, ok};

use crate::child::{Child, EXTENT};
use crate::grants::{self, DATA, WINDOW};

fn granter() -> Outcome {
    ok!(grant::setup());
    grant::give(7, DATA + 0x1000, 0x3000, MAIL.to(0), 0);
    // SAFETY: spare memory of this child.
    ok!(unsafe { memory::try_write(DATA + 0x2000, 0x1234) });
    MAIL.answer(0, 1);
    check!(cpu::wait_until(10_000, || MAIL.to(1) == 1), "nobody mapped it");
    check_eq!(grant::uses(7), 1);
    check_eq!(memory::try_read(DATA + 0x2008), Ok(0x5678));
    check!(!grant::take_back(7), "it is in use");
    MAIL.answer(0, 2);
    check!(cpu::wait_until(10_000, || MAIL.to(1) == 2), "nobody unmapped it");
    check!(grant::take_back(7));
    Ok(())
}

fn mapper() -> Outcome {
    let granter = MAIL.to(0);
    let handle = ok!(grant::map(granter, 7, 3, WINDOW, 0));
    check_eq!(memory::try_read(WINDOW + 0x1000), Ok(0x1234));
    // SAFETY: the granter's page, to which no reference is.
    ok!(unsafe { memory::try_write(WINDOW + 0x1008, 0x5678) });
    MAIL.answer(0, 1);
    check!(cpu::wait_until(10_000, || MAIL.to(1) == 1));
    check_eq!(grant::map(granter, 7, 1, WINDOW + 0x10_0000, 0), Err(Status::Denied), "taken back");
    check_eq!(memory::try_read(WINDOW + 0x1000), Ok(0x1234), "what is mapped stays");
    ok!(grant::unmap(handle));
    check_eq!(grant::unmap(handle), Err(Status::NotFound));
    // A place that is free again can be had again.
    check_eq!(grant::map(granter, 7, 1, WINDOW, 0), Err(Status::Denied));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::pair(granter, mapper, EXTENT)?;
    a.start()?;
    a.wait_for(0, 1)?;
    b.start()?;
    b.wait_for(0, 1)?;
    a.mail()?.tell(1, 1);
    a.wait_for(0, 2)?;
    b.mail()?.tell(1, 1);
    b.finish()?;
    a.mail()?.tell(1, 2);
    a.finish()?;
    a.destroy()?;
    Child::destroy(b)
}
