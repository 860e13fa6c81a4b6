// SPDX-License-Identifier: MIT OR Apache-2.0
//! A triple fault stops the domain and nothing else: from a missing
//! interrupt table, and from a start without valid page tables.

use core::arch::asm;

use hv_abi::domain::reason;
use hv_guest::{Outcome, error, failure};

use crate::child::{Child, first_context};
use crate::host;

fn child() -> Outcome {
    let none = [0u16; 5];
    // SAFETY: the table has no entry, so the exception and the double fault
    // behind it find no handler (SDM Vol. 3, 7.15).
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &none) }
    Err(failure!("went on"))
}

/// The runner's part.
pub fn run() -> Outcome {
    let victim = Child::new(child)?;
    victim.start()?;
    victim.expect_stop(reason::TRIPLE_FAULT)?;
    victim.destroy()?;

    // A root table of zeros: the first fetch faults, as do all handlers.
    let victim = Child::new(child)?;
    let mut context = first_context(child);
    context.cr3 = 0x1000;
    host::set_context(victim.id, 0, &context).map_err(|s| error!("{s:?}"))?;
    victim.start()?;
    victim.expect_stop(reason::TRIPLE_FAULT)?;
    victim.destroy()
}
