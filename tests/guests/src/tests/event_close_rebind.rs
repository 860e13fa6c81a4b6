// SPDX-License-Identifier: MIT OR Apache-2.0
//! When one end of a joined port closes, the other waits for a new partner of
//! the same domain: sends to it are harmless, a new bind works.

use hv_abi::event::kind;
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, ok};

use crate::child::Child;
use crate::host;

fn child() -> Outcome {
    ok!(event::setup());
    let port = MAIL.to(0);
    MAIL.answer(0, 1);
    cpu::sti();
    for n in 1..=2 {
        check!(cpu::wait_until(5000, || event::seen(port) == n), "event {n}");
        MAIL.answer(0, u64::from(n) + 1);
    }
    // Its partner is gone again: a send goes nowhere.
    check!(cpu::wait_until(5000, || MAIL.to(1) == 1));
    check_eq!(call(H::EventSend { port }), Ok(0));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    let theirs = ok!(call(H::EventAlloc { owner: child.id, remote: DOM_SELF }));
    child.mail()?.tell(0, theirs);
    child.start()?;
    child.wait_for(0, 1)?;
    for n in 0..2 {
        let bind = H::EventBind { remote: child.id, remote_port: theirs };
        let port = ok!(call(bind));
        check_eq!(call(bind), Err(Status::Busy), "joined already");
        ok!(call(H::EventSend { port }));
        child.wait_for(0, n + 2)?;
        ok!(call(H::EventClose { port }));
        check_eq!(ok!(host::event(child.id, theirs)).kind, kind::UNBOUND);
    }
    child.mail()?.tell(1, 1);
    child.finish()?;
    child.destroy()
}
