// SPDX-License-Identifier: MIT OR Apache-2.0
//! CR0 and CR4: values that a guest may not set are #GP. Where the CPU under
//! the core lets them through to it (QEMU's TCG does), the domain stops. They
//! never come to stay, and the host goes on.

use hv_abi::domain::reason;
use hv_guest::cpu::{cr0, cr4, set_cr0, set_cr4};
use hv_guest::mail::MAIL;
use hv_guest::trap::catch;
use hv_guest::{Outcome, check, failure};

use crate::child::Child;

/// CR4 bits: LA57, VMXE, SMXE, and what is reserved.
const CR4: [u32; 9] = [12, 13, 14, 15, 19, 25, 31, 33, 63];
/// CR0 bits to flip: PE under PG, NW without CD, a reserved one.
const CR0: [u32; 3] = [0, 29, 32];

fn child() -> Outcome {
    let bit = 1 << MAIL.to(1);
    let (caught, before, after) = if MAIL.to(0) == 4 {
        let before = cr4();
        (catch(|| set_cr4(before ^ bit)), before, cr4())
    } else {
        let before = cr0();
        (catch(|| set_cr0(before ^ bit)), before, cr0())
    };
    check!(caught.is_ok() || caught.is_err_and(|f| f.is_gp()), "{caught:?}");
    // A bit that is ignored is as good as one that is refused.
    check!(after == before, "CR{} = {after:#x} stays", MAIL.to(0));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let cases = CR4.iter().map(|bit| (4, *bit)).chain(CR0.iter().map(|bit| (0, *bit)));
    for (register, bit) in cases {
        let child = Child::new(child)?;
        child.mail()?.tell(0, register);
        child.mail()?.tell(1, bit.into());
        child.start()?;
        let info = child.wait()?;
        match info.reason {
            reason::BAD_STATE | reason::TRIPLE_FAULT => {}
            reason::POWEROFF => child.verdict(&info)?,
            other => return Err(failure!("CR{register} bit {bit}: stopped for reason {other}")),
        }
        child.destroy()?;
    }
    Ok(())
}
