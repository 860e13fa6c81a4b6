// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain gets as many ports as its builder allowed, then Limit; a closed
//! port can be had again.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child::{Child, Spec};

const PORTS: u64 = 16;

fn child() -> Outcome {
    let bind = || call(H::EventBindIpi { vcpu: 0 });
    for round in 0..3 {
        // Port 0 is never given out.
        let mut seen = 0u64;
        for n in 1..PORTS {
            let port = ok!(bind());
            check!(port > 0 && port < PORTS, "round {round}: port {port} as number {n}");
            check!(seen >> port & 1 == 0, "port {port} twice");
            seen |= 1 << port;
        }
        check_eq!(bind(), Err(Status::Limit));
        for port in 1..PORTS {
            ok!(call(H::EventClose { port }));
        }
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { ports: PORTS as u32, ..Spec::new(child) })?;
    check_eq!(call(H::EventAlloc { owner: child.id, remote: 0 }).is_ok(), true);
    check_eq!(child.info()?.ports, 1);
    ok!(call(H::EventAlloc { owner: child.id, remote: 0 }));
    // The child finds none of them: they are closed first.
    child.start()?;
    let outcome = child.finish();
    check!(outcome.is_err(), "two of its ports are taken, and it got all");
    child.destroy()?;

    let child = Child::with(&Spec { ports: PORTS as u32, ..Spec::new(self::child) })?;
    child.start()?;
    child.finish()?;
    child.destroy()
}
