// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong arguments of MemoryPopulate are refused and change nothing; pages
//! beyond the domain's limit are Limit, pages that are there are Exists.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check_eq, ok};

use crate::child::config;
use crate::host;

/// The runner's part.
pub fn run() -> Outcome {
    let mut config = config("populate");
    config.max_pages = 1030;
    let domain = ok!(host::create(&config));
    let populate = |gpa, pages| call(H::MemoryPopulate { domain, gpa, pages });
    let free = ok!(host::host()).free_pages;
    for (gpa, pages) in [
        (0, 0),
        (1, 1),
        (0x1800, 1),
        (u64::MAX - 4095, 1),
        (u64::MAX - 4095, 2),
        (0x1000, u64::MAX),
        (0x1000, u64::MAX / 4096),
        (0x1000, 1 << 52),
        (1 << 47, 1),
        ((1 << 47) - 4096, 2),
        (1 << 63, 1),
    ] {
        check_eq!(populate(gpa, pages), Err(Status::Invalid), "{gpa:#x}, {pages:#x} pages");
    }
    for domain in [4000, 0xffff, u64::MAX] {
        let made = call(H::MemoryPopulate { domain, gpa: 0, pages: 1 });
        check_eq!(made, Err(Status::NotFound), "domain {domain:#x}");
    }
    check_eq!(call(H::MemoryPopulate { domain: 0, gpa: 0, pages: 1 }), Err(Status::Invalid));
    check_eq!(ok!(host::host()).free_pages, free, "refused calls took pages");

    // At most 512 a call; parts of large extents; the highest page.
    check_eq!(populate(0x20_0000, 5000), Ok(512));
    check_eq!(populate(0x20_0000, 1), Err(Status::Exists));
    check_eq!(populate(0x3f_f000, 2), Err(Status::Exists));
    check_eq!(populate(0x1f_f000, 2), Ok(1), "the second is there");
    check_eq!(populate(0x40_1000, 510), Ok(510));
    check_eq!(populate(0x40_0000, 5), Ok(1), "the second is there");
    check_eq!(populate((1 << 47) - 4096, 1), Ok(1));
    check_eq!(ok!(host::domain(domain)).pages, 1025);
    check_eq!(populate(0x80_0000, 6), Err(Status::Limit));
    check_eq!(populate(0x80_0000, 5), Ok(5));
    check_eq!(populate(0x90_0000, 1), Err(Status::Limit));
    ok!(host::destroy(domain));
    Ok(())
}
