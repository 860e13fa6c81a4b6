// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mapper is destroyed with mappings held: the granter's uses end, and its
//! memory is its own again.

use hv_abi::Door;
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, grant, ok};

use crate::child::EXTENT;
use crate::grants::{self, DATA, WINDOW};

const GRANTS: u64 = 60;

fn granter() -> Outcome {
    ok!(grant::setup());
    for n in 0..GRANTS {
        grant::give(n as usize, DATA + n * 0x1000, 0x4000, MAIL.to(0), 0);
    }
    MAIL.answer(0, 1);
    check!(cpu::wait_until(20_000, || MAIL.to(1) == 1));
    for n in 0..GRANTS {
        check!(grant::take_back(n as usize), "grant {n} is still in use");
    }
    check_eq!(Hv.memory_release(DATA, EXTENT), Ok(EXTENT), "its pages are its own");
    Ok(())
}

fn mapper() -> Outcome {
    for n in 0..GRANTS {
        ok!(grant::map(MAIL.to(0), n as u32, 4, WINDOW + (n << 25), 0));
    }
    MAIL.answer(0, 1);
    loop {
        core::hint::spin_loop();
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::pair(granter, mapper, EXTENT)?;
    a.start()?;
    a.wait_for(0, 1)?;
    b.start()?;
    b.wait_for(0, 1)?;
    let counters = grants::counters(a.id)?;
    check_eq!((counters.grant_uses, counters.granted_pages), (GRANTS, GRANTS * 4));
    check_eq!(grants::counters(b.id)?.grant_mappings, GRANTS);
    b.destroy()?;
    check_eq!(grants::counters(a.id)?.grant_uses, 0);
    a.mail()?.tell(1, 1);
    a.finish()?;
    a.destroy()
}
