// SPDX-License-Identifier: MIT OR Apache-2.0
//! A granter rewrites its entries all the time while two vCPUs of its peer
//! map, copy and unmap: every answer is a status, and at the end nothing is
//! counted that is not there.

use hv_abi::grant::{COPY_ONLY, READ_ONLY};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, cpu, grant, ok, smp};

use crate::child::{Child, EXTENT, Spec};
use crate::grants::{self, DATA, WINDOW};

const ROUNDS: u64 = 400;

fn granter() -> Outcome {
    ok!(grant::setup());
    let peer = MAIL.to(0);
    let mut n = 1u64;
    while MAIL.to(1) == 0 {
        MAIL.answer(0, 1);
        n = n.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let grant = (n >> 33) as usize % 4;
        match n >> 60 {
            0..5 => {
                grant::take_back(grant);
            }
            5 => grant::give(grant, DATA, 0x2000, peer, READ_ONLY),
            6 => grant::give(grant, DATA + 0x123, 0x2000, peer, COPY_ONLY),
            7 => grant::give(grant, DATA - 0x1000, 0x3000, peer, 0),
            8 => grant::give(grant, 0xffff_ffff_ffff_f000, 0xffff_ffff, peer, 0),
            9 => grant::give(grant, DATA, 0x1000, peer ^ 1, 0),
            _ => grant::give(grant, DATA + (n >> 40 & 0xf000), 0x4000, peer, 0),
        }
    }
    check!(cpu::wait_until(1000, || (0..4).all(grant::take_back)), "uses are left");
    Ok(())
}

fn storm(index: usize) {
    let (granter, window) = (MAIL.to(0), WINDOW + ((index as u64) << 30));
    let mut mapped = 0;
    for n in 0..ROUNDS {
        let grant = (n % 5) as u32;
        if let Ok(handle) = grant::map(granter, grant, 1 + (n % 3) as u32, window, 0) {
            mapped += 1;
            let _ = grant::copy(grant::of(granter, grant, 0), grant::own(DATA), 64);
            if grant::unmap(handle).is_err() {
                MAIL.answer(3, 1);
            }
        }
        let _ = grant::copy(grant::own(DATA), grant::of(granter, grant, n % 64), 999);
    }
    MAIL.answer(4 + index, mapped);
    MAIL.answer(index, 1);
}

fn mapper() -> Outcome {
    check!(smp::start(1, storm, 5000));
    storm(0);
    check!(cpu::wait_until(60_000, || MAIL.from(1) == 1), "vCPU 1 hangs");
    check!(MAIL.from(3) == 0, "a mapping was lost");
    check!(MAIL.from(4) + MAIL.from(5) > 0, "nothing was ever mapped");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let b = Child::with(&Spec { vcpus: 2, spare: EXTENT, ..Spec::new(mapper) })?;
    grants::spare(&b)?;
    let a = Child::with(&Spec { spare: EXTENT, ..Spec::new(granter) })?;
    grants::spare(&a)?;
    a.mail()?.tell(0, b.id);
    b.mail()?.tell(0, a.id);
    a.start()?;
    a.wait_for(0, 1)?;
    b.start()?;
    b.finish()?;
    a.mail()?.tell(1, 1);
    a.finish()?;
    b.destroy()?;
    a.destroy()
}
