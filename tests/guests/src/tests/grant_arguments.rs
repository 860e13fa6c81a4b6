// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong arguments of every call on grants, from a guest: tables that are
//! not aligned, too small, too large, outside of memory, on device memory, over
//! the end of memory; operations that name nothing or too much.

use hv_abi::grant::{GrantMap, OPS_PER_CALL};
use hv_abi::{DOM_SELF, Door, Status};
use hv_guest::hypercall::{Hv, gpa};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, grant, ok};

use crate::child::EXTENT;
use crate::grants::{self, DATA, WINDOW};

/// Where no memory of a guest is.
const DEVICE: u64 = 0xfee0_0000;

fn tables() -> Outcome {
    let table = grant::table();
    for (at, log2, wanted) in [
        (table, 6, Status::Invalid),
        (table, 15, Status::Invalid),
        (table, u64::MAX, Status::Invalid),
        (table + 8, 7, Status::Invalid),
        (table + 4095, 7, Status::Invalid),
        (DEVICE, 7, Status::Fault),
        (1 << 46, 7, Status::Fault),
        (!4095, 8, Status::Fault),
        (DATA + (EXTENT - 1) * 4096, 8, Status::Fault),
    ] {
        check_eq!(Hv.grant_table(at, log2), Err(wanted), "table {at:#x}, {log2}");
    }
    check_eq!(Hv.grant_revoke(DOM_SELF, 0, 0), Err(Status::NotFound), "without a table");
    ok!(grant::setup());
    check_eq!(grant::setup(), Err(Status::State), "twice");
    Ok(())
}

/// A call that takes an array of operations.
type Batch = fn(u64, u64) -> Result<u64, Status>;

fn child() -> Outcome {
    tables()?;
    let calls: [Batch; 3] = [
        |at, count| Hv.grant_map(at, count),
        |at, count| Hv.grant_unmap(at, count),
        |at, count| Hv.grant_copy(at, count),
    ];
    let end = DATA + EXTENT * 4096;
    for (index, make) in calls.into_iter().enumerate() {
        for (at, count, wanted) in [
            (DATA, 0, Status::Invalid),
            (DATA, OPS_PER_CALL + 1, Status::Invalid),
            (DATA, u64::MAX, Status::Invalid),
            (DEVICE, 1, Status::Fault),
            (1 << 46, 1, Status::Fault),
            (u64::MAX - 3, 1, Status::Fault),
            (end - 4, 1, Status::Fault),
            (end - 8, 64, Status::Fault),
        ] {
            check_eq!(make(at, count), Err(wanted), "call {index}: {at:#x}, {count}");
        }
    }
    let a = MAIL.to(0);
    let op = |change: &dyn Fn(&mut GrantMap)| {
        let mut op = GrantMap { domain: a as u32, pages: 1, gpa: WINDOW, ..GrantMap::default() };
        change(&mut op);
        grant::map_op(op).map(|op| op.handle)
    };
    check_eq!(op(&|o| o.pages = 0), Err(Status::Invalid));
    check_eq!(op(&|o| o.pages = 513), Err(Status::Invalid));
    check_eq!(op(&|o| o.pages = 2), Err(Status::Invalid), "beyond the grant");
    check_eq!(op(&|o| o.first = 1), Err(Status::Invalid));
    check_eq!(op(&|o| o.first = u32::MAX), Err(Status::Invalid));
    check_eq!(op(&|o| o.flags = 1), Err(Status::Invalid));
    check_eq!(op(&|o| o.reserved = 1), Err(Status::Invalid));
    check_eq!(op(&|o| o.gpa = WINDOW + 1), Err(Status::Invalid));
    check_eq!(op(&|o| o.gpa = 1 << 47), Err(Status::Invalid));
    check_eq!(op(&|o| o.gpa = !4095), Err(Status::Invalid));
    check_eq!(op(&|o| o.gpa = DATA), Err(Status::Exists), "where memory is");
    check_eq!(op(&|o| o.grant = 1), Err(Status::Denied), "not granted");
    check_eq!(op(&|o| o.grant = 128), Err(Status::NotFound));
    check_eq!(op(&|o| o.grant = u32::MAX), Err(Status::NotFound));
    check_eq!(op(&|o| o.domain = 4000), Err(Status::NotFound));
    check_eq!(op(&|o| o.domain = 0), Err(Status::NotFound), "the control domain has no table");
    for handle in [0, 1, 0xffff, u32::MAX] {
        check_eq!(grant::unmap(handle), Err(Status::NotFound));
    }
    check_eq!(grant::query(a, 1).map(|i| i.len), Err(Status::Denied));
    check_eq!(grant::query(a, u64::MAX).map(|i| i.len), Err(Status::NotFound));
    check_eq!(grant::query(a, 0).map(|i| (i.len, i.gpa)), Ok((4096, 0)));
    check_eq!(Hv.grant_query(DOM_SELF, 0, DEVICE), Err(Status::Fault));
    check_eq!(Hv.grant_revoke(a, 0, 0), Err(Status::Denied), "another's");
    check_eq!(Hv.grant_revoke(DOM_SELF, 0, 1), Err(Status::Denied), "by force");
    check_eq!(Hv.grant_revoke(DOM_SELF, 0, 2), Err(Status::Invalid));
    check_eq!(Hv.grant_revoke(DOM_SELF, hv_abi::grant::ALL, 0), Err(Status::Invalid));
    check_eq!(Hv.grant_revoke(DOM_SELF, 127, 0), Ok(0));
    // What is mapped is no memory of the mapper's for other calls.
    let handle = ok!(op(&|_| {}));
    check_eq!(Hv.console_write(WINDOW, 8), Err(Status::Fault));
    check_eq!(Hv.grant_map(WINDOW, 1), Err(Status::Fault));
    check_eq!(Hv.memory_release(WINDOW, 1), Err(Status::NotFound));
    check_eq!(grant::copy(grant::own(WINDOW), grant::own(DATA), 8), Err(Status::Fault));
    ok!(grant::unmap(handle));
    let _ = gpa(&MAIL);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::granted(child, 0)?;
    b.start()?;
    b.finish()?;
    b.destroy()?;
    a.destroy()
}
