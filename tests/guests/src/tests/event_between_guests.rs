// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two guests join ports and ring each other without the control domain; a
//! third guest can't bind to what was not made for it.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, cpu, event, ok};

use crate::child::{self, Child};

const ROUNDS: u32 = 300;

fn child() -> Outcome {
    ok!(event::setup());
    let (remote, remote_port, first) = (MAIL.to(0), MAIL.to(1), MAIL.to(2) == 1);
    let port = match first {
        true => ok!(call(H::EventAlloc { owner: hv_abi::DOM_SELF, remote })),
        false => ok!(call(H::EventBind { remote, remote_port })),
    };
    MAIL.answer(0, port);
    for round in 1..=ROUNDS {
        // The one that bound begins: its partner is there.
        if !first {
            ok!(call(H::EventSend { port }));
        }
        while event::seen(port) < round {
            ok!(call(H::SchedBlock {}));
            cpu::let_in();
        }
        if first {
            ok!(call(H::EventSend { port }));
        }
    }
    Ok(())
}

fn stranger() -> Outcome {
    let bind = H::EventBind { remote: MAIL.to(0), remote_port: MAIL.to(1) };
    check_eq!(call(bind), Err(Status::Denied));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let (first, second) = (Child::new(child)?, Child::new(child)?);
    first.mail()?.tell(0, second.id);
    first.mail()?.tell(2, 1);
    first.start()?;
    first.wait_for(0, 1)?;
    let port = first.mail()?.from(0);

    let third = Child::new(stranger)?;
    third.mail()?.tell(0, first.id);
    third.mail()?.tell(1, port);
    third.start()?;
    third.finish()?;
    third.destroy()?;

    second.mail()?.tell(0, first.id);
    second.mail()?.tell(1, port);
    second.start()?;
    first.finish()?;
    second.finish()?;
    first.destroy()?;
    second.destroy()?;
    child::run(|| Ok(()))
}
