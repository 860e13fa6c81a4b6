// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that scribbles over its port words and rings while events are
//! sent hurts only itself: the sender goes on, the host's counters stay.

use core::sync::atomic::{AtomicU32, Ordering};

use hv_abi::Hypercall as H;
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, event, ok};

use crate::child::Child;

fn child() -> Outcome {
    ok!(event::setup());
    MAIL.answer(0, 1);
    let mut seed = 1u32;
    while MAIL.to(1) == 0 {
        for page in [event::words(), event::ring(0, 0), event::ring(0, 1)] {
            for slot in 0..1024 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // SAFETY: the pages are arrays of such words.
                let word = unsafe { &*((page + slot * 4) as *const AtomicU32) };
                word.store(seed, Ordering::Relaxed);
            }
        }
        MAIL.from[1].fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    let theirs = ok!(call(H::EventAlloc { owner: child.id, remote: 0 }));
    let port = ok!(call(H::EventBind { remote: child.id, remote_port: theirs }));
    child.start()?;
    child.wait_for(0, 1)?;
    for _ in 0..2000 {
        ok!(call(H::EventSend { port }));
    }
    child.wait_for(1, 3)?;
    for _ in 0..2000 {
        ok!(call(H::EventSend { port }));
    }
    child.mail()?.tell(1, 1);
    child.finish()?;
    ok!(call(H::EventClose { port }));
    child.destroy()
}
