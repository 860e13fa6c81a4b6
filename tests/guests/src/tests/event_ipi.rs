// SPDX-License-Identifier: MIT OR Apache-2.0
//! An IPI port raises itself: the upcall comes, once for each send that finds
//! the port consumed; a masked port stays pending and comes with the unmask.

use hv_abi::event::{MASKED, PENDING};
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check_eq, cpu, event, failure, trap};

use crate::child;

fn wait_seen(port: u64, count: u32) -> Outcome {
    let end = cpu::tsc() + 2000 * cpu::khz();
    while event::seen(port) < count {
        if cpu::tsc() > end {
            return Err(failure!("event {count} of port {port} did not come"));
        }
        core::hint::spin_loop();
    }
    Ok(())
}

fn child() -> Outcome {
    let fail = |s: Status| failure!("{s:?}");
    event::setup().map_err(fail)?;
    let port = call(H::EventBindIpi { vcpu: 0 }).map_err(fail)?;
    cpu::sti();
    for n in 1..=10 {
        check_eq!(call(H::EventSend { port }), Ok(0));
        wait_seen(port, n)?;
    }
    check_eq!(event::word(port), 0);

    event::mask(port);
    let upcalls = trap::count(event::UPCALL);
    for _ in 0..3 {
        check_eq!(call(H::EventSend { port }), Ok(0));
    }
    cpu::spin_us(500);
    check_eq!(event::seen(port), 10);
    check_eq!(trap::count(event::UPCALL), upcalls);
    check_eq!(event::word(port), MASKED | PENDING);
    event::unmask(port).map_err(fail)?;
    wait_seen(port, 11)?;
    check_eq!(event::word(port), 0);

    // With interrupts off, three sends are one event.
    cpu::cli();
    for _ in 0..3 {
        check_eq!(call(H::EventSend { port }), Ok(0));
    }
    check_eq!(event::seen(port), 11);
    cpu::sti();
    wait_seen(port, 12)?;
    cpu::spin_us(200);
    check_eq!(event::seen(port), 12);
    check_eq!(call(H::EventClose { port }), Ok(0));
    check_eq!(call(H::EventSend { port }), Err(Status::NotFound));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
