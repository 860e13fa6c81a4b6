// SPDX-License-Identifier: MIT OR Apache-2.0
//! A batch makes its calls in order, each with an answer of its own; what may
//! not be in one is refused without ending it.

use hv_abi::host::BatchEntry;
use hv_abi::{ABI_VERSION, Door, Hypercall as H, Status};
use hv_guest::hypercall::{Hv, gpa, gpa_mut};
use hv_guest::{Outcome, check, check_eq, ok};

fn entry(call: H) -> BatchEntry {
    let (number, args) = call.encode();
    BatchEntry { number, args, status: 99, ..BatchEntry::default() }
}

/// The runner's part.
pub fn run() -> Outcome {
    let mut text = *b"a line of a batch";
    let mut table = [
        entry(H::Version {}),
        entry(H::SchedBlock {}),
        entry(H::Batch { gpa: 0, count: 1 }),
        entry(H::HostPower { action: 0 }),
        BatchEntry { number: 0xdead, ..BatchEntry::default() },
        BatchEntry { reserved: 1, ..entry(H::Version {}) },
        entry(H::ConsoleWrite { gpa: gpa_mut(&mut text), len: 17 }),
        entry(H::DomainPause { domain: 4000 }),
        entry(H::Version {}),
    ];
    let mut done = 0;
    while done < table.len() {
        let rest = gpa(&table) + (done * 64) as u64;
        let step = ok!(Hv.batch(rest, (table.len() - done) as u64));
        check!(step > 0);
        done += step as usize;
    }
    let _ = gpa_mut(&mut table);
    let invalid = Status::Invalid;
    let wanted = [
        Status::Ok, invalid, invalid, invalid, Status::NoCall, invalid, Status::Ok,
        Status::NotFound, Status::Ok,
    ];
    for (index, (entry, wanted)) in table.iter().zip(wanted).enumerate() {
        check_eq!(Status::from_code(entry.status.into()), Some(wanted), "entry {index}");
    }
    check_eq!((table[0].value, table[6].value), (ABI_VERSION.into(), 17));
    for (at, count, wanted) in [
        (gpa(&table), 0, invalid),
        (gpa(&table), 65, invalid),
        (0xfee0_0000, 1, Status::Fault),
        (u64::MAX - 7, 1, Status::Fault),
    ] {
        check_eq!(Hv.batch(at, count), Err(wanted), "{at:#x}, {count}");
    }
    Ok(())
}
