// SPDX-License-Identifier: MIT OR Apache-2.0
//! SchedPoll ends when a port of its list is pending, masked or not, when the
//! time is over, and at once when one is pending already. Wrong lists are
//! refused.

use hv_abi::{Door, Status};
use hv_guest::hypercall::{Hv, gpa};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, ok, smp};

use crate::child;

fn sender(_: usize) {
    while MAIL.to(1) == 0 {
        core::hint::spin_loop();
    }
    cpu::spin_us(20_000);
    let _ = Hv.event_send(MAIL.to(2));
}

fn child() -> Outcome {
    let none = [1u32];
    check_eq!(Hv.sched_poll(gpa(&none), 1, 1000), Err(Status::State), "before the words");
    ok!(event::setup());
    let port = ok!(Hv.event_bind_ipi(0));
    let other = ok!(Hv.event_bind_ipi(0));
    let list = [port as u32, other as u32];
    let free = [1023u32];
    for (at, count, wanted) in [
        (gpa(&list), 0, Status::Invalid),
        (gpa(&list), 65, Status::Invalid),
        (gpa(&list), u64::MAX, Status::Invalid),
        (gpa(&free), 1, Status::NotFound),
        (0xfee0_0000, 1, Status::Fault),
        (u64::MAX - 1, 1, Status::Fault),
    ] {
        check_eq!(Hv.sched_poll(at, count, 1000), Err(wanted), "{at:#x}, {count}");
    }
    let start = cpu::tsc();
    ok!(Hv.sched_poll(gpa(&list), 2, 20_000_000));
    let took = (cpu::tsc() - start) / cpu::khz();
    check!((15..5_000).contains(&took), "20 ms took {took} ms");
    // Masked, it raises no upcall; the poll ends all the same.
    event::mask(other);
    check!(smp::start(1, sender, 5000));
    MAIL.tell(2, other);
    MAIL.tell(1, 1);
    let start = cpu::tsc();
    while event::word(other) & hv_abi::event::PENDING == 0 {
        ok!(Hv.sched_poll(gpa(&list), 2, 10_000_000_000));
    }
    let took = (cpu::tsc() - start) / cpu::khz();
    check!(took < 9_000, "it slept for {took} ms");
    let start = cpu::tsc();
    ok!(Hv.sched_poll(gpa(&list), 2, 10_000_000_000));
    check!((cpu::tsc() - start) / cpu::khz() < 5_000, "it was pending already");
    check_eq!(event::seen(other), 0);
    ok!(event::unmask(other));
    cpu::let_in();
    check_eq!(event::seen(other), 1);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run_smp(2, child)
}
