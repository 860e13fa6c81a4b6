// SPDX-License-Identifier: MIT OR Apache-2.0
//! CR0, CR4 and CR8: what a guest may set can be set and reads back.

use hv_guest::cpu::{self, cr0, cr4, set_cr0, set_cr4, set_cr8};
use hv_guest::trap::catch;
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child;

fn child() -> Outcome {
    let before = cr4();
    // TSD, DE, PGE, OSFXSR: there on every CPU.
    for bit in [2, 3, 7, 9] {
        ok!(catch(|| set_cr4(before | 1 << bit)));
        check_eq!(cr4(), before | 1 << bit);
        set_cr4(before);
    }
    let before = cr0();
    // WP, AM, TS, CD.
    for bit in [16, 18, 3, 30] {
        ok!(catch(|| set_cr0(before | 1 << bit)));
        check_eq!(cr0() & 1 << bit, 1 << bit, "CR0 bit {bit}");
        set_cr0(before);
    }
    check_eq!(cr0(), before);
    ok!(catch(|| set_cr8(15)));
    check_eq!(cpu::cr8(), 15);
    check!(catch(|| set_cr8(16)).is_err_and(|f| f.is_gp()) || cpu::cr8() < 16, "CR8 = 16");
    set_cr8(0);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
