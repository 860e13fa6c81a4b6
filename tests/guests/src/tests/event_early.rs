// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events sent before the guest registered words, ring or vector are not
//! lost: they come when all three are there.

use hv_abi::Hypercall as H;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, event, ok};

use crate::child::Child;

fn child() -> Outcome {
    let (first, second) = (MAIL.to(0), MAIL.to(1));
    cpu::sti();
    ok!(call(H::EventWords { gpa: event::words(), log2_ports: 10 }));
    MAIL.answer(0, 1);
    check!(cpu::wait_until(5000, || MAIL.to(2) == 1));
    cpu::spin_us(500);
    check_eq!(event::seen(first), 0);
    ok!(event::setup_vcpu(0));
    for port in [first, second] {
        check!(cpu::wait_until(2000, || event::seen(port) == 1), "port {port}");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    let mut ports = [0; 2];
    for (index, port) in ports.iter_mut().enumerate() {
        let theirs = ok!(call(H::EventAlloc { owner: child.id, remote: 0 }));
        *port = ok!(call(H::EventBind { remote: child.id, remote_port: theirs }));
        child.mail()?.tell(index, theirs);
    }
    // Before it has run at all, then before its ring is there.
    ok!(call(H::EventSend { port: ports[0] }));
    child.start()?;
    child.wait_for(0, 1)?;
    ok!(call(H::EventSend { port: ports[1] }));
    child.mail()?.tell(2, 1);
    child.finish()?;
    for port in ports {
        ok!(call(H::EventClose { port }));
    }
    child.destroy()
}
