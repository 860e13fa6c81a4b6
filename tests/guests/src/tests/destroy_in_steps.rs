// SPDX-License-Identifier: MIT OR Apache-2.0
//! Destroying a large domain takes steps, and no step takes long.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check, cpu, ok};

use crate::child::config;
use crate::host;

/// The longest step that is still bounded, on the slowest bed.
const LONGEST_MS: u64 = 500;

/// The runner's part.
pub fn run() -> Outcome {
    let mut config = config("large");
    config.max_pages = 1 << 20;
    let domain = ok!(host::create(&config));
    // Half of what is free in large leaves, some of it in pages.
    let extents = ok!(host::host()).free_pages / 1024;
    ok!(host::populate(domain, 0x20_0000, extents * 512));
    ok!(host::populate(domain, 0x80_0000_1000, 300));
    for page in 0..100 {
        ok!(host::populate(domain, 0x4000_0000 + page * 0x60_0000, 1));
    }
    let mut longest = 0;
    loop {
        let start = cpu::tsc();
        let answer = call(H::DomainDestroy { domain });
        longest = longest.max(cpu::tsc() - start);
        match answer {
            Err(Status::Again) => {}
            Ok(_) => break,
            Err(status) => ok!(Err(status)),
        }
    }
    let ms = longest / cpu::khz();
    check!(ms < LONGEST_MS, "one step took {ms} ms");
    Ok(())
}
