// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest whose page tables lie where it has no memory, at any level, is
//! stopped with that address; the host goes on.

use hv_abi::domain::reason;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, failure, memory, start};

use crate::child::Child;

/// Where there is no memory.
const NOWHERE: u64 = 0x3000_0000;

fn child() -> Outcome {
    // The entry for the addresses from 512 GiB, 3 GiB, 3 GiB + 2 MiB on.
    let tables = start::tables() as *mut [u64; 512];
    let (table, entry, address) = match MAIL.to(0) {
        0 => (0, 1, 1 << 39),
        1 => (1, 3, 3 << 30),
        _ => (2 + 3, 1, (3 << 30) | 2 << 20),
    };
    // SAFETY: the child's own tables; it uses nothing at these addresses.
    unsafe { (*tables.add(table))[entry] = NOWHERE | 7 };
    hv_guest::cpu::set_cr3(start::tables());
    let read = memory::try_read(address);
    Err(failure!("the read gave {read:x?}"))
}

/// The runner's part.
pub fn run() -> Outcome {
    for level in 0..3 {
        let child = Child::new(child)?;
        child.mail()?.tell(0, level);
        child.start()?;
        let info = child.expect_stop(reason::MEMORY_FAULT)?;
        let page = info.code & !4095;
        check!(page == NOWHERE, "level {level}: stopped for {:#x}", info.code);
        child.destroy()?;
    }
    Ok(())
}
