// SPDX-License-Identifier: MIT OR Apache-2.0
//! After MemoryRelease no vCPU reads or writes the page any more, not even
//! one that has its translation cached: the domain stops at that address.

use core::sync::atomic::Ordering;

use hv_abi::Hypercall as H;
use hv_abi::domain::reason;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, failure, ok, smp};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

const PAGE: u64 = 0x400_0000;

fn user(_: usize) {
    loop {
        let place = (PAGE + 5 * 4096) as *mut u64;
        // SAFETY: memory that only this vCPU uses, until it is taken away:
        // then the domain stops.
        unsafe { place.write_volatile(place.read_volatile() + 1) };
        MAIL.from[0].fetch_add(1, Ordering::SeqCst);
    }
}

fn child() -> Outcome {
    check!(smp::start(1, user, 5000));
    check!(cpu::wait_until(5000, || MAIL.from(0) > 1000));
    ok!(call(H::MemoryRelease { gpa: PAGE + 5 * 4096, pages: 1 }));
    let after = MAIL.from(0);
    cpu::spin_us(3_000_000);
    Err(failure!("vCPU 1 went on by {} rounds", MAIL.from(0) - after))
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { vcpus: 2, spare: EXTENT, ..Spec::new(child) })?;
    ok!(host::populate(child.id, PAGE, EXTENT));
    child.start()?;
    let info = child.expect_stop(reason::MEMORY_FAULT)?;
    check_eq!((info.code, info.fault_vcpu), (PAGE + 5 * 4096, 1));
    child.destroy()
}
