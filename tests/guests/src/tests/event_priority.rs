// SPDX-License-Identifier: MIT OR Apache-2.0
//! Urgent events are consumed before normal ones that came first; the order
//! within a ring is that of the sends; a target moves a port to another vCPU.

use hv_abi::Hypercall as H;
use hv_abi::event::{PRIORITY_NORMAL, PRIORITY_URGENT};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, ok, smp, trap};

use crate::child;

fn other(index: usize) {
    MAIL.answer(0, if event::setup_vcpu(index).is_ok() { 1 } else { 2 });
    loop {
        cpu::sti_hlt();
    }
}

fn child() -> Outcome {
    ok!(event::setup());
    let mut ports = [0; 6];
    for port in &mut ports {
        *port = ok!(call(H::EventBindIpi { vcpu: 0 }));
    }
    let [a, b, c, d, e, f] = ports;
    for port in [d, e, f] {
        ok!(call(H::EventTarget { port, vcpu: 0, priority: PRIORITY_URGENT }));
    }
    for port in [c, a, e, b, d, f] {
        ok!(call(H::EventSend { port }));
    }
    cpu::sti();
    check!(cpu::wait_until(2000, || event::nth(5).is_some()), "six events");
    let order = [0, 1, 2, 3, 4, 5].map(event::nth);
    check_eq!(order, [e, d, f, c, a, b].map(Some));

    check!(smp::start(1, other, 3000));
    check!(cpu::wait_until(2000, || MAIL.from(0) != 0));
    check_eq!(MAIL.from(0), 1, "rings of vCPU 1");
    ok!(call(H::EventTarget { port: a, vcpu: 1, priority: PRIORITY_NORMAL }));
    cpu::cli();
    let upcalls = trap::count(event::UPCALL);
    ok!(call(H::EventSend { port: a }));
    check!(cpu::wait_until(2000, || event::seen(a) == 2), "on vCPU 1");
    check_eq!(trap::count(event::UPCALL), upcalls + 1);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run_smp(2, child)
}
