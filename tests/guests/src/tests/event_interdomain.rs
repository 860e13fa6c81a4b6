// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two domains ring each other by a joined port: a thousand times there and
//! back, half of the answers by NotifyAndBlock; the status is told right.

use hv_abi::event::kind;
use hv_abi::{DOM_SELF, Hypercall as H};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, failure, ok};

use crate::child::Child;
use crate::host;

const ROUNDS: u32 = 1000;

fn child() -> Outcome {
    ok!(event::setup());
    let port = MAIL.to(0);
    MAIL.answer(0, 1);
    for round in 1..=ROUNDS {
        // Interrupts are let in only between looking and waiting.
        while event::seen(port) < round {
            ok!(call(H::SchedBlock {}));
            cpu::let_in();
        }
        if round % 2 == 0 {
            ok!(call(H::EventSend { port }));
        } else {
            ok!(call(H::NotifyAndBlock { port }));
        }
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    let theirs = ok!(call(H::EventAlloc { owner: child.id, remote: 0 }));
    check_eq!(ok!(host::event(child.id, theirs)).kind, kind::UNBOUND);
    let port = ok!(call(H::EventBind { remote: child.id, remote_port: theirs }));
    let status = ok!(host::event(DOM_SELF, port));
    check_eq!((status.kind, u64::from(status.remote)), (kind::JOINED, child.id));
    check_eq!(u64::from(status.remote_port), theirs);
    child.mail()?.tell(0, theirs);
    child.start()?;
    child.wait_for(0, 1)?;
    let before = event::seen(port);
    cpu::sti();
    for round in 1..=ROUNDS {
        ok!(call(H::EventSend { port }));
        let end = cpu::tsc() + 5000 * cpu::khz();
        while event::seen(port) - before < round {
            ok!(call(H::SchedYield {}));
            if cpu::tsc() > end {
                return Err(failure!("the answer to event {round} did not come"));
            }
        }
    }
    cpu::cli();
    child.finish()?;
    check!(child.info()?.events >= u64::from(ROUNDS));
    ok!(call(H::EventClose { port }));
    child.destroy()
}
