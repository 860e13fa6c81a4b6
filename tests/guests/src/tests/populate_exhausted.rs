// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain takes all the host's free memory: then NoMemory, for it and for
//! new domains, and everything comes back.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child::config;
use crate::host;

/// The runner's part.
pub fn run() -> Outcome {
    let mut config = config("glutton");
    config.max_pages = 1 << 40;
    let domain = ok!(host::create(&config));
    let start = ok!(host::host()).free_pages;
    let mut pages = 0;
    let mut gpa = 0;
    loop {
        match call(H::MemoryPopulate { domain, gpa, pages: 512 }) {
            Ok(done) => {
                check!(done > 0 && done <= 512, "{done} pages of 512");
                pages += done;
                gpa += done * 4096;
            }
            Err(Status::NoMemory) => break,
            Err(status) => ok!(Err(status)),
        }
    }
    check_eq!(ok!(host::domain(domain)).pages, pages);
    let left = ok!(host::host()).free_pages;
    check!(left < 4, "{left} pages are left after NoMemory");
    check!(start - left - pages < start / 256 + 16, "{} pages of tables", start - left - pages);
    check_eq!(host::create(&config), Err(Status::NoMemory));
    ok!(host::destroy(domain));
    let after = ok!(host::host()).free_pages;
    check!(after > start, "{after} free pages, {start} before the domain had any");
    Ok(())
}
