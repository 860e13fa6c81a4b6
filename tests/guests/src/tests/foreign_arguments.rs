// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong arguments of MemoryMap and MemoryUnmap, and foreign memory as the
//! argument of other calls, are refused without a trace.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa_mut};
use hv_guest::{Outcome, check_eq, ok, start};

use crate::child::config;
use crate::host;

/// The runner's part.
pub fn run() -> Outcome {
    let mut config = config("foreign");
    config.max_pages = 512;
    let domain = ok!(host::create(&config));
    ok!(host::populate(domain, 0x1000, 4));
    ok!(host::populate(domain, 0x8000, 1));
    let invalid = Status::Invalid;
    for (gpa, pages, wanted) in [
        (0x1000, 0, invalid),
        (0x1004, 1, invalid),
        (u64::MAX - 4095, 1, invalid),
        (0x1000, u64::MAX, invalid),
        (0x1000, 1 << 52, invalid),
        (1 << 47, 1, invalid),
        (0, 1, Status::NotFound),
        (0x5000, 1, Status::NotFound),
        (0xfee0_0000, 1, Status::NotFound),
        ((1 << 47) - 4096, 1, Status::NotFound),
    ] {
        let answer = host::map(domain, gpa, pages).map(|run| run.pages);
        check_eq!(answer, Err(wanted), "map {gpa:#x}, {pages:#x} pages");
    }
    check_eq!(host::map(0, 0x1000, 1).map(|run| run.pages), Err(invalid));
    for domain in [4000, 0xffff, u64::MAX] {
        check_eq!(host::map(domain, 0x1000, 1).map(|run| run.pages), Err(Status::NotFound));
    }
    for out_gpa in [0xfee0_0000, 1 << 46, u64::MAX - 8] {
        let made = call(H::MemoryMap { domain, gpa: 0x1000, pages: 1, out_gpa });
        check_eq!(made, Err(Status::Fault), "answer to {out_gpa:#x}");
    }
    check_eq!(ok!(host::domain(domain)).foreign_pages, 0, "refused calls left mappings");

    let run = ok!(host::map(domain, 0x8000, 1));
    for gpa in [run.machine, run.machine + 4000] {
        check_eq!(call(H::HostInfo { gpa }), Err(Status::Fault), "foreign memory as an answer");
        check_eq!(call(H::ConsoleWrite { gpa, len: 200 }), Err(Status::Fault), "as text");
        check_eq!(call(H::DomainCreate { gpa }), Err(Status::Fault), "as a structure");
    }
    let mut own = 0u64;
    let own = gpa_mut(&mut own) & !4095;
    for (machine, pages, wanted) in [
        (run.machine, 0, invalid),
        (run.machine + 1, 1, invalid),
        (run.machine, u64::MAX, invalid),
        (run.machine, 2, Status::NotFound),
        (own, 1, invalid),
        (0xfee0_0000, 1, Status::NotFound),
        (0x20_0000, 1, Status::NotFound),
        (1 << 46, 1, Status::NotFound),
        ((1 << 47) - 4096, 1, Status::NotFound),
        (1 << 47, 1, invalid),
    ] {
        check_eq!(host::unmap(machine, pages), Err(wanted), "unmap {machine:#x}, {pages:#x}");
    }
    check_eq!(host::unmap(run.machine, 1), Ok(1));
    assert!(start::is_runner());
    ok!(host::destroy(domain));
    Ok(())
}
