// SPDX-License-Identifier: MIT OR Apache-2.0
//! DomainShutdown raises the guest's virtual interrupt; ShutdownRequest tells
//! the reason once. Wrong reasons and domains are refused.

use hv_abi::domain::reason;
use hv_abi::event::virq;
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, ok};

use crate::child::Child;

fn child() -> Outcome {
    ok!(event::setup());
    let port = ok!(call(H::EventBindVirq { virq: virq::SHUTDOWN, vcpu: 0 }));
    check_eq!(call(H::ShutdownRequest {}), Ok(0));
    MAIL.answer(0, 1);
    cpu::sti();
    for (n, wanted) in [(1, reason::POWEROFF), (2, reason::REBOOT)] {
        check!(cpu::wait_until(5000, || event::seen(port) == n), "request {n}");
        check_eq!(call(H::ShutdownRequest {}), Ok(u64::from(wanted) + 1));
        check_eq!(call(H::ShutdownRequest {}), Ok(0), "read once already");
        MAIL.answer(0, u64::from(n) + 1);
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    child.start()?;
    child.wait_for(0, 1)?;
    let ask = |domain, reason| call(H::DomainShutdown { domain, reason });
    for wrong in [u64::from(reason::CRASH), 7, 99, u64::MAX] {
        check_eq!(ask(child.id, wrong), Err(Status::Invalid), "reason {wrong:#x}");
    }
    check_eq!(ask(0, 0), Err(Status::Invalid), "the control domain");
    check_eq!(ask(4000, 0), Err(Status::NotFound));
    for (n, reason) in [(2, reason::POWEROFF), (3, reason::REBOOT)] {
        ok!(ask(child.id, reason.into()));
        child.wait_for(0, n)?;
    }
    child.finish()?;
    child.destroy()
}
