// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control domain maps a guest's grant at its machine address. MemoryUnmap
//! does not end such a mapping, nor does GrantUnmap one of MemoryMap.

use hv_abi::Status;
use hv_abi::grant::GrantMap;
use hv_guest::{Outcome, check, check_eq, grant, memory, ok};

use crate::child::{Child, EXTENT, Spec};
use crate::grants::{self, DATA};
use crate::host;

fn idle() -> Outcome {
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let unused = Child::with(&Spec { spare: EXTENT, ..Spec::new(idle) })?;
    let a = grants::granting_to(0, 0x2000, 0)?;
    let ask = GrantMap { domain: a.id as u32, pages: 2, ..GrantMap::default() };
    let op = ok!(grant::map_op(ask));
    check_eq!((op.gpa, op.pages), (a.at(DATA)?, 2));
    check_eq!(memory::try_read(op.gpa + 0x1008), Ok(DATA + 0x1008));
    check_eq!(grants::counters(a.id)?.granted_pages, 2);
    // Only the mapping by MemoryMap, which the child's view is, can go so.
    check_eq!(host::unmap(op.gpa, 1), Ok(1));
    check_eq!(host::unmap(op.gpa, 1), Err(Status::NotFound));
    check_eq!(memory::try_read(op.gpa), Ok(DATA), "still mapped by the grant");
    let run = ok!(host::map(a.id, DATA, 1));
    check_eq!(run.machine, op.gpa);
    ok!(grant::unmap(op.handle));
    check_eq!(grant::unmap(op.handle), Err(Status::NotFound));
    check!(memory::try_read(op.gpa).is_ok(), "still mapped by MemoryMap");
    check_eq!(ok!(grant::query(a.id, 0)).uses, 0);
    check_eq!(grant::map(unused.id, 0, 1, 0, 0), Err(Status::NotFound), "no table");
    unused.destroy()?;
    a.destroy()
}
