// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong arguments of every event call are refused, each with its status.

use hv_abi::event::PRIORITY_NORMAL;
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa};
use hv_guest::{Outcome, check_eq, event, failure, ok};

use crate::child;

const FAR: u64 = 0x3000_0000;

fn no(call_made: H, wanted: Status) -> Outcome {
    match call(call_made) {
        Err(status) if status == wanted => Ok(()),
        other => Err(failure!("{call_made:x?}: {other:?}, not {wanted:?}")),
    }
}

fn registration() -> Outcome {
    let words = event::words();
    let ring = event::ring(0, 1);
    let ring_of =
        |vcpu, priority, gpa, log2_slots| H::EventRing { vcpu, priority, gpa, log2_slots };
    no(ring_of(0, 1, ring, 10), Status::State)?;
    for log2_ports in [0, 9, 15, 64, u64::MAX] {
        no(H::EventWords { gpa: words, log2_ports }, Status::Invalid)?;
    }
    no(H::EventWords { gpa: words + 4, log2_ports: 10 }, Status::Invalid)?;
    for at in [FAR, 1 << 46, 0xfee0_0000, u64::MAX << 12] {
        no(H::EventWords { gpa: at, log2_ports: 10 }, Status::Fault)?;
    }
    // Its first page is there, its last is not.
    no(H::EventWords { gpa: 0x20_0000 - 4096, log2_ports: 11 }, Status::Fault)?;
    ok!(call(H::EventWords { gpa: words, log2_ports: 10 }));
    no(H::EventWords { gpa: words, log2_ports: 10 }, Status::State)?;
    no(ring_of(1, 1, ring, 10), Status::NotFound)?;
    no(ring_of(u64::MAX, 1, ring, 10), Status::NotFound)?;
    no(ring_of(0, 2, ring, 10), Status::Invalid)?;
    no(ring_of(0, 1, ring, 9), Status::Invalid)?;
    no(ring_of(0, 1, ring, 15), Status::Invalid)?;
    no(ring_of(0, 1, ring + 8, 10), Status::Invalid)?;
    no(ring_of(0, 1, FAR, 10), Status::Fault)?;
    ok!(call(ring_of(0, 1, ring, 10)));
    no(ring_of(0, 1, ring, 10), Status::State)?;
    for vector in [0, 31, 256, u64::MAX] {
        no(H::EventUpcall { vcpu: 0, vector }, Status::Invalid)?;
    }
    no(H::EventUpcall { vcpu: 1, vector: 32 }, Status::NotFound)
}

fn ports() -> Outcome {
    no(H::EventAlloc { owner: 0, remote: 0 }, Status::Denied)?;
    no(H::EventAlloc { owner: DOM_SELF, remote: 4095 }, Status::NotFound)?;
    no(H::EventAlloc { owner: DOM_SELF, remote: u64::MAX }, Status::NotFound)?;
    no(H::EventBind { remote: 4000, remote_port: 1 }, Status::NotFound)?;
    no(H::EventBind { remote: 0, remote_port: 1 << 32 }, Status::NotFound)?;
    no(H::EventBind { remote: 0, remote_port: 4000 }, Status::NotFound)?;
    no(H::EventBindVirq { virq: 3, vcpu: 0 }, Status::Invalid)?;
    no(H::EventBindVirq { virq: u64::MAX, vcpu: 0 }, Status::Invalid)?;
    no(H::EventBindVirq { virq: 0, vcpu: 0 }, Status::Denied)?;
    no(H::EventBindVirq { virq: 1, vcpu: 1 }, Status::NotFound)?;
    no(H::EventBindIpi { vcpu: 1 }, Status::NotFound)?;
    for port in [0, 5, 1023, 1024, 1 << 32, u64::MAX] {
        no(H::EventSend { port }, Status::NotFound)?;
        no(H::EventClose { port }, Status::NotFound)?;
        no(H::EventUnmask { port }, Status::NotFound)?;
        no(H::NotifyAndBlock { port }, Status::NotFound)?;
        no(H::EventTarget { port, vcpu: 0, priority: 0 }, Status::NotFound)?;
    }
    // Waits for a domain other than the one that tries.
    let port = ok!(call(H::EventAlloc { owner: DOM_SELF, remote: 0 }));
    no(H::EventBind { remote: DOM_SELF, remote_port: port }, Status::Denied)?;
    check_eq!(call(H::EventSend { port }), Ok(0), "a port nobody is bound to");
    no(H::EventTarget { port, vcpu: 1, priority: PRIORITY_NORMAL }, Status::NotFound)?;
    no(H::EventTarget { port, vcpu: 0, priority: 2 }, Status::Invalid)?;
    let status = [0u64; 3];
    no(H::EventStatus { owner: 0, port, gpa: gpa(&status) }, Status::Denied)?;
    no(H::EventStatus { owner: DOM_SELF, port: 1024, gpa: gpa(&status) }, Status::NotFound)?;
    no(H::EventStatus { owner: DOM_SELF, port, gpa: FAR }, Status::Fault)?;
    ok!(call(H::EventClose { port }));
    let virq = ok!(call(H::EventBindVirq { virq: 1, vcpu: 0 }));
    no(H::EventBindVirq { virq: 1, vcpu: 0 }, Status::Exists)?;
    no(H::EventSend { port: virq }, Status::Invalid)?;
    ok!(call(H::EventClose { port: virq }));
    Ok(())
}

fn child() -> Outcome {
    // Rings need words first: State, whatever else is wrong.
    registration()?;
    ports()
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
