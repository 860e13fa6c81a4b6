// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies by a grant: at any byte, over page boundaries, in both directions,
//! at the grant's very ends; beyond them nothing is copied.

use hv_abi::Status;
use hv_abi::grant::COPY_ONLY;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, grant, ok};

use crate::child::EXTENT;
use crate::grants::{self, DATA};

const LEN: u64 = 0x2fff;

fn byte(at: u64) -> u8 {
    // SAFETY: spare memory of this child.
    unsafe { (at as *const u8).read_volatile() }
}

fn fill(at: u64, len: u64, salt: u8) {
    for i in 0..len {
        // SAFETY: as above.
        unsafe { ((at + i) as *mut u8).write_volatile(i as u8 ^ salt) }
    }
}

fn granter() -> Outcome {
    ok!(grant::setup());
    fill(DATA, 0x4000, 0);
    // 0xfff bytes into the first page: the copy-only grant begins at its last.
    grant::give(0, DATA + 0xfff, LEN as u32, MAIL.to(0), COPY_ONLY);
    MAIL.answer(0, 1);
    while MAIL.to(1) == 0 {
        core::hint::spin_loop();
    }
    check_eq!((byte(DATA + 0xffe), byte(DATA + 0xfff)), (0xfe, 0x55), "the first byte");
    check_eq!((byte(DATA + 0xffe + LEN), byte(DATA + 0xfff + LEN)), (0x55 ^ 0xfe, 0xfe));
    check!(grant::take_back(0));
    Ok(())
}

fn copier() -> Outcome {
    let a = MAIL.to(0);
    let (there, here) = (grant::of(a, 0, 0), grant::own(DATA + 0xffd));
    check_eq!(grant::map(a, 0, 1, DATA << 8, 0), Err(Status::Denied), "it may only be copied");
    ok!(grant::copy(there, here, LEN as u32));
    for i in [0, 1, 2, 0xfff, 0x1000, 0x1001, LEN - 1] {
        check_eq!(byte(DATA + 0xffd + i), (i + 0xfff) as u8, "byte {i:#x}");
    }
    check_eq!(byte(DATA + 0xffd + LEN), 0, "behind the last");
    for (from, to, len, wanted) in [
        (there, here, LEN as u32 + 1, Status::Invalid),
        (grant::of(a, 0, 1), here, LEN as u32, Status::Invalid),
        (grant::of(a, 0, LEN), here, 1, Status::Invalid),
        (grant::of(a, 0, u64::MAX), here, 2, Status::Invalid),
        (there, here, 0, Status::Invalid),
        (there, here, 0x1_0001, Status::Invalid),
        (there, grant::own(0xfee0_0000), 1, Status::Fault),
        (there, grant::own(u64::MAX), 1, Status::Fault),
        (there, grant::own(1 << 46), 1, Status::Fault),
        (there, grant::own(DATA + EXTENT * 4096 - 1), 2, Status::Fault),
        (grant::own(DATA + EXTENT * 4096 - 1), there, 2, Status::Fault),
        (grant::of(a, 1, 0), here, 1, Status::Denied),
        (grant::of(a, 128, 0), here, 1, Status::NotFound),
        (grant::of(4000, 0, 0), here, 1, Status::NotFound),
    ] {
        check_eq!(grant::copy(from, to, len), Err(wanted), "{from:?} to {to:?}, {len:#x}");
    }
    fill(DATA, LEN, 0x55);
    ok!(grant::copy(grant::own(DATA), there, LEN as u32));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::pair(granter, copier, EXTENT)?;
    a.start()?;
    a.wait_for(0, 1)?;
    b.start()?;
    b.finish()?;
    a.mail()?.tell(1, 1);
    a.finish()?;
    b.destroy()?;
    a.destroy()
}
