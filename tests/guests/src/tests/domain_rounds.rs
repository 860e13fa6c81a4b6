// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fifty guests, one after the other, run and are destroyed: the counters
//! are at their baseline after each.

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq};

use crate::baseline::Baseline;
use crate::child::Child;

fn child() -> Outcome {
    MAIL.answer(0, MAIL.to(0) * 3);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let before = Baseline::take()?;
    for round in 1..=50 {
        let child = Child::new(child)?;
        child.mail()?.tell(0, round);
        child.start()?;
        child.finish()?;
        check_eq!(child.mail()?.from(0), round * 3);
        child.destroy()?;
        before.counters()?;
    }
    Ok(())
}
