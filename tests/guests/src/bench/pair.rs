// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations between two guests on one CPU. The partner makes a port for the
//! one that measures, which binds to it; the partner is destroyed at the end.

use core::hint::black_box;

use hv_abi::{DOM_SELF, Hypercall as H};
use hv_guest::bench::{ROW, measure};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, cpu, event, ok};

use super::{How, Measured, Row, result, wait};
use crate::child::Child;

/// The rows.
pub const ROWS: &[Row] = &[
    Row { name: "event_pending_peer", how: How::Two(send, closed) },
    Row { name: "event_masked_peer", how: How::Two(send, masked) },
    Row { name: "notify_wait_round_trip", how: How::Two(ask, answer) },
    Row { name: "yield_round_trip", how: How::Two(give_way, give_way_for_ever) },
];

/// Both parts, on one CPU.
pub fn run(row: u64, main: fn() -> Outcome, partner: fn() -> Outcome) -> Outcome<Measured> {
    let (first, second) = (Child::new(main)?, Child::new(partner)?);
    second.mail()?.tell(0, first.id);
    second.start()?;
    second.wait_for(1, 1)?;
    first.mail()?.tell(ROW, row);
    first.mail()?.tell(0, second.id);
    first.mail()?.tell(1, second.mail()?.from(0));
    first.start()?;
    wait(&first)?;
    let measured = result(&first)?;
    first.destroy()?;
    second.destroy()?;
    Ok(measured)
}

/// The partner's port.
fn open() -> Outcome<u64> {
    ok!(event::setup());
    let port = ok!(call(H::EventAlloc { owner: DOM_SELF, remote: MAIL.to(0) }));
    MAIL.answer(0, port);
    Ok(port)
}

fn ready() {
    MAIL.answer(1, 1);
}

fn bind() -> Outcome<u64> {
    ok!(event::setup());
    Ok(ok!(call(H::EventBind { remote: MAIL.to(0), remote_port: MAIL.to(1) })))
}

fn send() -> Outcome {
    let port = bind()?;
    measure(2000, || {
        black_box(call(H::EventSend { port })).ok();
    });
    Ok(())
}

/// Its event stays pending.
fn closed() -> Outcome {
    open()?;
    ready();
    cpu::halt_forever()
}

fn masked() -> Outcome {
    event::mask(open()?);
    ready();
    cpu::halt_forever()
}

/// Asks and waits for the answer.
fn ask() -> Outcome {
    let port = bind()?;
    let before = event::seen(port);
    cpu::sti();
    measure(1000, || {
        black_box(call(H::NotifyAndBlock { port })).ok();
    });
    cpu::cli();
    check!(event::seen(port) - before >= 3000, "answers are missing");
    Ok(())
}

/// Waits for a question, and answers with the call that waits for the next.
fn answer() -> Outcome {
    let port = open()?;
    cpu::sti();
    ready();
    ok!(call(H::SchedBlock {}));
    loop {
        ok!(call(H::NotifyAndBlock { port }));
    }
}

fn give_way() -> Outcome {
    measure(1000, || {
        black_box(call(H::SchedYield {})).ok();
    });
    Ok(())
}

fn give_way_for_ever() -> Outcome {
    open()?;
    ready();
    loop {
        ok!(call(H::SchedYield {}));
    }
}
