// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain that is destroyed while the control domain has its memory mapped
//! stays as a shell until the last mapping goes; what is mapped stays
//! readable, nothing new can begin.

use hv_abi::domain::state;
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check, check_eq, memory, ok};

use crate::child::config;
use crate::host;

/// The runner's part.
pub fn run() -> Outcome {
    let mut config = config("zombie");
    config.max_pages = 2048;
    let free = ok!(host::host()).free_pages;
    let domain = ok!(host::create(&config));
    ok!(host::populate(domain, 0x20_0000, 1024));
    let large = ok!(host::map(domain, 0x20_0000, 512));
    let small = ok!(host::map(domain, 0x40_0000, 3));
    // SAFETY: foreign memory, to which no reference is.
    ok!(unsafe { memory::try_write(large.machine, 42) });
    ok!(host::destroy(domain));
    let info = ok!(host::domain(domain));
    check!(info.state & state::DYING != 0, "state {:#x}", info.state);
    check_eq!(info.foreign_pages, large.pages + small.pages);
    check_eq!(memory::try_read(large.machine), Ok(42));

    let dying = Err(Status::Dying);
    check_eq!(host::map(domain, 0x20_0000, 1).map(|run| run.pages), dying);
    check_eq!(call(H::MemoryPopulate { domain, gpa: 0, pages: 1 }), dying);
    check_eq!(call(H::DomainUnpause { domain }), dying);
    check_eq!(call(H::EventAlloc { owner: domain, remote: 0 }), dying);
    check_eq!(host::context(domain, 0).map(|c| c.rip), dying);
    check_eq!(host::destroy(domain), Ok(()), "destroying it again");

    let half = large.pages / 2;
    check_eq!(host::unmap(large.machine, half), Ok(half));
    check_eq!(host::unmap(small.machine, small.pages), Ok(small.pages));
    check_eq!(ok!(host::domain(domain)).foreign_pages, large.pages - half);
    let rest = large.machine + half * 4096;
    check!(memory::try_read(rest).is_ok());
    check!(memory::try_read(large.machine).is_err_and(|f| f.is_gp()));
    check_eq!(host::unmap(rest, large.pages - half), Ok(large.pages - half));
    check_eq!(host::domain(domain).map(|i| i.state), Err(Status::NotFound));
    check_eq!(ok!(host::host()).free_pages, free);
    Ok(())
}
