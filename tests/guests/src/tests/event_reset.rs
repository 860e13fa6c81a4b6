// SPDX-License-Identifier: MIT OR Apache-2.0
//! EventReset closes all ports of a domain: its own, or for the control domain
//! a guest's. Peers turn unbound, words and rings stay in use.

use hv_abi::{DOM_SELF, Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, ok};

use crate::child::Child;
use crate::host;

fn reset(domain: u64) -> Result<(), Status> {
    loop {
        match Hv.event_reset(domain) {
            Ok(_) => return Ok(()),
            Err(Status::Again) => {}
            Err(status) => return Err(status),
        }
    }
}

fn child() -> Outcome {
    ok!(event::setup());
    check_eq!(Hv.event_reset(0), Err(Status::Denied));
    check_eq!(Hv.event_reset(4000), Err(Status::Denied));
    let first = ok!(Hv.event_bind_ipi(0));
    for _ in 0..700 {
        ok!(Hv.event_bind_ipi(0));
    }
    ok!(reset(DOM_SELF));
    check_eq!(Hv.event_send(first), Err(Status::NotFound));
    let port = ok!(Hv.event_bind_ipi(0));
    ok!(Hv.event_send(port));
    cpu::let_in();
    check_eq!(event::seen(port), 1, "the rings work on");
    MAIL.answer(0, 1);
    check!(cpu::wait_until(20_000, || MAIL.to(0) == 1));
    check_eq!(Hv.event_send(port), Err(Status::NotFound));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    child.start()?;
    child.wait_for(0, 1)?;
    let theirs = ok!(Hv.event_alloc(child.id, 0));
    let mine = ok!(Hv.event_bind(child.id, theirs));
    ok!(reset(child.id));
    check_eq!(ok!(host::event(0, mine)).kind, hv_abi::event::kind::UNBOUND);
    ok!(Hv.event_close(mine));
    check_eq!(Hv.event_reset(4000), Err(Status::NotFound));
    child.mail()?.tell(0, 1);
    child.finish()?;
    child.destroy()
}
