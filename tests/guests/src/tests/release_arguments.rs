// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong arguments of MemoryRelease, and pages that others use: mapped by the
//! control domain, or the core's for events.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, event, ok};

use crate::child::{Child, Spec};
use crate::host;

const SPARE: u64 = 0x400_0000;

fn child() -> Outcome {
    let release = |gpa, pages| call(H::MemoryRelease { gpa, pages });
    for (gpa, pages) in
        [(0, 0), (8, 1), (u64::MAX - 4095, 1), (0x1000, u64::MAX), (0x1000, 1 << 52), (1 << 47, 1)]
    {
        check_eq!(release(gpa, pages), Err(Status::Invalid), "{gpa:#x}, {pages:#x} pages");
    }
    for gpa in [0x3000_0000, 0xfee0_0000, (1 << 47) - 4096] {
        check_eq!(release(gpa, 1), Err(Status::NotFound), "{gpa:#x}");
    }
    check_eq!(release(gpa(&MAIL), 1), Err(Status::Busy), "mapped by the runner");
    // The event words are the core's as well.
    ok!(call(H::EventWords { gpa: SPARE + 4096, log2_ports: 10 }));
    check_eq!(release(SPARE + 4096, 1), Err(Status::Busy), "port words");
    check_eq!(release(SPARE, 4), Ok(1), "stops at the port words");
    check_eq!(release(SPARE, 1), Err(Status::NotFound), "released already");
    check_eq!(release(SPARE + 2 * 4096, 500), Ok(2), "stops behind its memory");
    ok!(call(H::EventRing { vcpu: 0, priority: 0, gpa: event::ring(0, 0), log2_slots: 10 }));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { spare: 4, ..Spec::new(child) })?;
    ok!(host::populate(child.id, SPARE, 4));
    child.start()?;
    child.finish()?;
    child.destroy()
}
