// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that reads, writes or fetches where it has no memory is stopped,
//! with the address told; the host goes on.

use hv_abi::domain::reason;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, failure, memory};

use crate::child::Child;

fn child() -> Outcome {
    let at = MAIL.to(0);
    match MAIL.to(1) {
        0 => drop(memory::try_read(at)),
        // SAFETY: there is no memory at the address.
        1 => drop(unsafe { memory::try_write(at, 1) }),
        _ => {
            // SAFETY: there is no code, nor any memory, at the address.
            let f = unsafe { core::mem::transmute::<u64, extern "C" fn()>(at) };
            f();
        }
    }
    Err(failure!("access {} to {at:#x} went through", MAIL.to(1)))
}

/// The runner's part.
pub fn run() -> Outcome {
    // A hole, the local APIC's and IOAPIC's pages, the BIOS, behind memory.
    for at in [0x30_0000, 0x3000_1008, 0xfee0_0020, 0xfec0_0000, 0xffff_fff0, 0x20_0000] {
        for access in 0..3 {
            let child = Child::new(child)?;
            child.mail()?.tell(0, at);
            child.mail()?.tell(1, access);
            child.start()?;
            let info = child.expect_stop(reason::MEMORY_FAULT)?;
            check_eq!(info.code, at, "access {access}");
            check_eq!(info.fault_vcpu, 0);
            child.destroy()?;
        }
    }
    Ok(())
}
