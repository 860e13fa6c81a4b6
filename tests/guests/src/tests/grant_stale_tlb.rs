// SPDX-License-Identifier: MIT OR Apache-2.0
//! After GrantUnmap no vCPU of the mapper reads the page any more, not even
//! one that has its translation cached.

use core::sync::atomic::Ordering;

use hv_abi::domain::reason;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, failure, grant, memory, ok, smp};

use crate::child::{Child, EXTENT, Spec};
use crate::grants::{self, WINDOW};

fn user(_: usize) {
    while memory::try_read(WINDOW).is_ok() {
        MAIL.from[0].fetch_add(1, Ordering::SeqCst);
    }
}

fn mapper() -> Outcome {
    let handle = ok!(grant::map(MAIL.to(0), 0, 1, WINDOW, 0));
    check!(smp::start(1, user, 5000));
    check!(cpu::wait_until(5000, || MAIL.from(0) > 1000));
    ok!(grant::unmap(handle));
    let after = MAIL.from(0);
    cpu::spin_us(3_000_000);
    Err(failure!("vCPU 1 went on by {} reads", MAIL.from(0) - after))
}

/// The runner's part.
pub fn run() -> Outcome {
    let b = Child::with(&Spec { vcpus: 2, spare: EXTENT, ..Spec::new(mapper) })?;
    let a = grants::granting(&b, 0)?;
    b.start()?;
    let info = b.expect_stop(reason::MEMORY_FAULT)?;
    check_eq!((info.code, info.fault_vcpu), (WINDOW, 1));
    b.destroy()?;
    a.destroy()
}
