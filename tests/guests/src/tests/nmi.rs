// SPDX-License-Identifier: MIT OR Apache-2.0
//! NMIs between vCPUs: one comes, a second during the first's handler waits
//! for its IRET, and IF does not matter.

use hv_guest::apic::{self, kind};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, smp, trap};

use crate::child;

fn target(_: usize) {
    cpu::cli();
    MAIL.answer(0, 1);
    while MAIL.from(1) == 0 {
        core::hint::spin_loop();
    }
    // Stay in place until all is over.
    while MAIL.from(2) == 0 {
        core::hint::spin_loop();
    }
}

fn child() -> Outcome {
    trap::on(trap::vector::NMI, |_| {
        let nested = MAIL.from(3) == 1;
        MAIL.answer(3, 1);
        if nested {
            MAIL.answer(4, 1);
        }
        while MAIL.from(5) == 1 {
            core::hint::spin_loop();
        }
        MAIL.answer(3, 0);
    });
    check!(smp::start(1, target, 3000));
    check!(cpu::wait_until(1000, || MAIL.from(0) == 1));
    for n in 1..=5 {
        apic::send(1, kind::NMI);
        check!(cpu::wait_until(2000, || trap::count(trap::vector::NMI) >= n), "NMI {n}");
        check!(cpu::wait_until(2000, || MAIL.from(3) == 0));
    }
    // Two in a row: the second waits for the first's IRET.
    MAIL.answer(5, 1);
    apic::send(1, kind::NMI);
    check!(cpu::wait_until(2000, || MAIL.from(3) == 1));
    apic::send(1, kind::NMI);
    cpu::spin_us(20_000);
    check_eq!(trap::count(trap::vector::NMI), 6);
    MAIL.answer(5, 0);
    check!(cpu::wait_until(2000, || trap::count(trap::vector::NMI) == 7), "the second NMI");
    check!(cpu::wait_until(2000, || MAIL.from(3) == 0));
    check_eq!(MAIL.from(4), 0, "an NMI came inside an NMI's handler");
    MAIL.answer(1, 1);
    MAIL.answer(2, 1);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run_smp(2, child)
}
