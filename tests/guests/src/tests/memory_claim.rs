// SPDX-License-Identifier: MIT OR Apache-2.0
//! Claimed pages are kept for their domain: others get what is left, and what
//! is not used goes back with the domain.

use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child::config;
use crate::host;

fn domain(name: &str) -> Result<u64, Status> {
    let mut config = config(name);
    config.max_pages = 1 << 30;
    host::create(&config)
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = (ok!(domain("claims")), ok!(domain("wants")));
    let free = ok!(host::host()).free_pages;
    check_eq!(Hv.memory_claim(a, free + 1), Err(Status::NoMemory));
    check_eq!(Hv.memory_claim(a, u64::MAX), Err(Status::NoMemory));
    check_eq!(Hv.memory_claim(0, 1), Err(Status::Invalid));
    check_eq!(Hv.memory_claim(4000, 1), Err(Status::NotFound));
    ok!(Hv.memory_claim(a, free - 64));
    check_eq!(ok!(host::host()).claimed_pages, free - 64);
    check_eq!(Hv.memory_claim(b, 65), Err(Status::NoMemory));
    let mut got = 0;
    while let Ok(done) = Hv.memory_populate(b, got * 4096, 16) {
        got += done;
    }
    check!(got > 0 && got < 64, "{got} pages without a claim");
    let mut mine = 0;
    while mine < 4096 {
        mine += ok!(Hv.memory_populate(a, mine * 4096, 512));
    }
    let left = ok!(host::host()).claimed_pages;
    check!(left < free - 64 - mine, "{left} are left of the claim");
    ok!(Hv.memory_claim(a, 0));
    check_eq!(ok!(host::host()).claimed_pages, 0);
    ok!(Hv.memory_claim(b, 1000));
    ok!(host::destroy(a));
    ok!(host::destroy(b));
    check_eq!(ok!(host::host()).claimed_pages, 0);
    Ok(())
}
