// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measuring: marks that a counting plugin of the emulator sees
//! (`tests/bench/counter.c`), and the TSC for emulators without one. A row is
//! measured in [`WINDOWS`] windows, which have to agree.

use core::arch::asm;

use hv_abi::Hypercall;

use crate::cpu::tsc;
use crate::hypercall::call;
use crate::mail::MAIL;

/// Windows of a row.
pub const WINDOWS: usize = 3;
/// Word of the mailbox that tells a child its row.
pub const ROW: usize = 31;
/// Word of the mailbox with the operations in a window; the windows' TSC
/// ticks are behind it.
pub const RESULT: usize = 24;

macro_rules! mark {
    ($name:ident $tag:literal $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        pub fn $name(row: u64) {
            // SAFETY: a long NOP (SDM Vol. 2, NOP); the address in it is
            // never used. The jump begins a new block of the emulator, so
            // that the plugin sees rax.
            unsafe {
                asm!("jmp 2f", "2:", concat!(".byte 0x0f, 0x1f, 0x84, 0x00, ", $tag, ", 0x00, 0xef, 0xbe"),
                    in("rax") row, options(nostack, preserves_flags));
            }
        }
    };
}

mark!(begin "1" "A window of this row begins.");
mark!(end "2" "It ends.");

/// Does `operation` often enough to fill caches and tables, then `count` times
/// in each window. The ticks of each window.
#[inline(always)]
pub fn windows(row: u64, count: u64, mut operation: impl FnMut()) -> [u64; WINDOWS] {
    for _ in 0..count.min(64) {
        operation();
    }
    [(); WINDOWS].map(|()| {
        let start = tsc();
        begin(row);
        for _ in 0..count {
            operation();
        }
        end(row);
        tsc() - start
    })
}

/// The same in a child, which leaves the result in its mailbox.
#[inline(always)]
pub fn measure(count: u64, operation: impl FnMut()) {
    // Lets the runner go to sleep first, so that it does not cut in.
    for _ in 0..4 {
        // Never refused.
        let _ = call(Hypercall::SchedYield {});
    }
    let ticks = windows(MAIL.to(ROW), count, operation);
    MAIL.answer(RESULT, count);
    for (index, ticks) in ticks.into_iter().enumerate() {
        MAIL.answer(RESULT + 1 + index, ticks);
    }
}
