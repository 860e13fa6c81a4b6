// SPDX-License-Identifier: MIT OR Apache-2.0
//! SchedShutdown stops the domain for each reason a guest may give, with its
//! code; others are refused. The control domain hears of it.

use hv_abi::domain::reason;
use hv_abi::event::virq;
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, failure, ok};

use crate::child::Child;

fn child() -> Outcome {
    for reason in [u64::from(reason::TRIPLE_FAULT), 6, 7, 8, 1 << 32, u64::MAX] {
        check_eq!(call(H::SchedShutdown { reason, code: 1 }), Err(Status::Invalid));
    }
    let (reason, code) = (MAIL.to(0), MAIL.to(1));
    let answer = call(H::SchedShutdown { reason, code });
    Err(failure!("came back with {answer:?}"))
}

/// The runner's part.
pub fn run() -> Outcome {
    let port = ok!(call(H::EventBindVirq { virq: virq::DOMAIN_STATE, vcpu: 0 }));
    let before = event::seen(port);
    for wanted in
        [reason::POWEROFF, reason::REBOOT, reason::SUSPEND, reason::CRASH, reason::WATCHDOG]
    {
        let child = Child::new(child)?;
        let code = 0xfeed_0000_0000_0000 | u64::from(wanted);
        child.mail()?.tell(0, wanted.into());
        child.mail()?.tell(1, code);
        child.start()?;
        let info = child.wait()?;
        check_eq!((info.reason, info.code), (wanted, code), "{:?}", child.mail()?.text());
        child.destroy()?;
    }
    cpu::sti();
    check!(cpu::wait_until(1000, || event::seen(port) > before), "no virtual interrupt came");
    cpu::cli();
    ok!(call(H::EventClose { port }));
    Ok(())
}
