// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory is open to the control domain from MemoryMap to MemoryUnmap
//! and at no other time: outside, its access is #GP. Mappings count.

use hv_abi::Status;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, memory, ok};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

const AT: u64 = 0x400_0000;

fn child() -> Outcome {
    // SAFETY: memory of the child that nothing else uses.
    unsafe { memory::stamp(AT, EXTENT * 4096, 0) };
    MAIL.answer(0, 1);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { spare: EXTENT, ..Spec::new(child) })?;
    ok!(host::populate(child.id, AT, EXTENT));
    child.start()?;
    child.finish()?;
    let before = child.info()?.foreign_pages;
    let gp = |address: u64| {
        // SAFETY: it faults; else it writes memory of a child that has ended.
        let write = unsafe { memory::try_write(address, 1) };
        memory::try_read(address).is_err_and(|f| f.is_gp()) && write.is_err_and(|f| f.is_gp())
    };
    for pages in [EXTENT, 1, 7] {
        let run = ok!(host::map(child.id, AT, pages));
        check!(run.pages >= 1 && run.pages <= pages);
        check_eq!(child.info()?.foreign_pages, before + run.pages);
        let last = run.machine + run.pages * 4096 - 8;
        check_eq!(memory::try_read(run.machine), Ok(AT));
        check_eq!(memory::try_read(last), Ok(AT + run.pages * 4096 - 8));
        if pages < EXTENT {
            check!(gp(run.machine + run.pages * 4096), "the page behind is open");
        }
        let again = ok!(host::map(child.id, AT, 1));
        check_eq!(again.machine, run.machine);
        check_eq!(host::unmap(run.machine, run.pages), Ok(run.pages));
        check_eq!(memory::try_read(run.machine), Ok(AT), "one mapping is left");
        check!(pages == 1 || gp(last), "unmapped, yet open");
        check_eq!(host::unmap(run.machine, 1), Ok(1));
        check!(gp(run.machine), "unmapped, yet open");
        check_eq!(host::unmap(run.machine, 1), Err(Status::NotFound));
        check_eq!(child.info()?.foreign_pages, before);
    }
    child.destroy()
}
