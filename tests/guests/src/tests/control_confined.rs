// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control domain has neither the core's memory, nor free frames of the
//! guests' pool, nor the local APIC's page: its access is #GP, also by a
//! hypercall's argument, and it goes on.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check, check_eq, memory, ok};

use crate::host;

/// Where the core is loaded.
const CORE: u64 = 0x20_0000;

/// The runner's part.
pub fn run() -> Outcome {
    let pool = ok!(host::pool(0));
    check!(pool.start < pool.end && pool.start % (2 << 20) == 0 && pool.end % (2 << 20) == 0);
    for address in [CORE, CORE + 0x1000, pool.start, pool.end - 8, 0xfee0_0020, 0xfee0_0ff8] {
        let read = memory::try_read(address);
        check!(read.is_err_and(|f| f.is_gp()), "read of {address:#x}: {read:x?}");
        // SAFETY: it faults.
        let write = unsafe { memory::try_write(address, 0) };
        check!(write.is_err_and(|f| f.is_gp()), "write of {address:#x}: {write:?}");
        check_eq!(call(H::HostInfo { gpa: address }), Err(Status::Fault), "{address:#x}");
        check_eq!(call(H::ConsoleWrite { gpa: address, len: 1 }), Err(Status::Fault));
    }
    Ok(())
}
