// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that a guest has not got: virtualization's are #UD, as are
//! MONITOR and MWAIT; RDPMC faults; cache flushes do nothing.

use core::arch::asm;

use hv_guest::trap::catch;
use hv_guest::{Outcome, check};

use crate::child;

macro_rules! attempt {
    ($text:literal) => {
        // SAFETY: faults, or does nothing that this image would notice: the
        // addresses are its own low memory.
        ($text, catch(|| unsafe {
            asm!($text, in("rax") 0x1_2000_u64, in("rcx") 0_u64, inout("rdx") 0_u64 => _,
                out("rdi") _, options(nostack))
        }))
    };
}

fn child() -> Outcome {
    for (text, caught) in [
        attempt!("vmrun rax"),
        attempt!("vmload rax"),
        attempt!("vmsave rax"),
        attempt!("stgi"),
        attempt!("clgi"),
        attempt!("skinit eax"),
        attempt!("invlpga rax, ecx"),
        attempt!("vmxon [rax]"),
        attempt!("vmptrld [rax]"),
        attempt!("vmclear [rax]"),
        attempt!("vmlaunch"),
        attempt!("vmresume"),
        attempt!("vmxoff"),
        attempt!("vmread rdi, rdx"),
        attempt!("vmwrite rdx, rdx"),
        attempt!("rsm"),
    ] {
        check!(caught.is_err_and(|f| f.is_ud()), "{text}: {caught:?}");
    }
    for (text, caught) in [attempt!("monitor"), attempt!("mwait")] {
        check!(caught.is_err_and(|f| f.is_ud()), "{text}: {caught:?}");
    }
    let (_, rdpmc) = attempt!("rdpmc");
    check!(rdpmc.is_err_and(|f| f.is_gp() || f.is_ud()), "rdpmc: {rdpmc:?}");
    for (text, caught) in [attempt!("wbinvd"), attempt!("invd"), attempt!("clflush [rax]")] {
        check!(caught.is_ok(), "{text}: {caught:?}");
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
