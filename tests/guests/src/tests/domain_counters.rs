// SPDX-License-Identifier: MIT OR Apache-2.0
//! DomainCounters count what a domain does, for itself and for the control
//! domain.

use hv_abi::domain::DomainCounters;
use hv_abi::{DOM_SELF, Door, Status};
use hv_guest::hypercall::{Hv, gpa_mut};
use hv_guest::{Outcome, check, check_eq, cpu, event, ok};

use crate::child::Child;
use crate::grants;

fn own() -> Result<DomainCounters, Status> {
    let mut counters = DomainCounters::default();
    Hv.domain_counters(DOM_SELF, gpa_mut(&mut counters))?;
    Ok(counters)
}

fn child() -> Outcome {
    ok!(event::setup());
    let port = ok!(Hv.event_bind_ipi(0));
    let before = ok!(own());
    for _ in 0..5 {
        ok!(Hv.event_send(port));
        cpu::let_in();
    }
    cpu::cpuid(0, 0);
    let after = ok!(own());
    check_eq!(after.events_sent - before.events_sent, 5);
    check_eq!(after.events - before.events, 5);
    check_eq!(after.hypercalls - before.hypercalls, 6);
    check!(after.exits[1] - before.exits[1] >= 6 && after.exits[2] > before.exits[2]);
    check_eq!((after.ports, after.grant_uses), (1, 0));
    let mut other = DomainCounters::default();
    check_eq!(Hv.domain_counters(0, gpa_mut(&mut other)), Err(Status::Denied));
    check_eq!(Hv.domain_counters(DOM_SELF, 0xfee0_0000), Err(Status::Fault));
    check_eq!(Hv.domain_counters(DOM_SELF, u64::MAX - 7), Err(Status::Fault));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    child.start()?;
    child.finish()?;
    check!(grants::counters(child.id)?.hypercalls > 10);
    let mut other = DomainCounters::default();
    check_eq!(Hv.domain_counters(4000, gpa_mut(&mut other)), Err(Status::NotFound));
    child.destroy()
}
