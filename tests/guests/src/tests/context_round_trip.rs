// SPDX-License-Identifier: MIT OR Apache-2.0
//! VcpuSetContext and VcpuGetContext: what is set is what is got; a guest's
//! registers can be read while it is paused, and changed; State while it runs.

use core::arch::asm;

use hv_abi::Status;
use hv_abi::vcpu::run_state;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, ok, start};

use crate::child::{Child, first_context};
use crate::host;

const MARK: u64 = 0x1234_5678_9abc_def0;

fn child() -> Outcome {
    let r15: u64;
    MAIL.answer(0, 1);
    // SAFETY: spins until somebody changes r14 from outside.
    unsafe {
        asm!("2:", "pause", "test r14, r14", "jz 2b",
            inout("r14") 0_u64 => _, inout("r15") MARK => r15, options(nomem))
    }
    MAIL.answer(1, r15);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    let mut context = first_context(child_main());
    context.gpr = core::array::from_fn(|i| (i as u64 + 1) << 40 | 7);
    context.gpr[7] = child_main() as *const () as u64;
    context.kernel_gs_base = 0xffff_8000_1234_5000;
    context.syscall = [0x0023_0010_0000_0000, 0x1000, 0x2000, 0x3000];
    context.sysenter = [8, 0x5000, 0x6000];
    context.dr7 = 0x401;
    context.cr2 = 0xdead_0000;
    ok!(host::set_context(child.id, 0, &context));
    let mut got = ok!(host::context(child.id, 0));
    got.efer &= 0xd01;
    check_eq!(got.gpr, context.gpr);
    check_eq!((got.rip, got.rflags), (context.rip, context.rflags));
    check_eq!((got.cr0, got.cr2, got.cr3), (context.cr0, context.cr2, context.cr3));
    check_eq!((got.cr4, got.efer, got.pat), (context.cr4, context.efer, context.pat));
    check_eq!((got.dr6, got.dr7, got.xcr0), (context.dr6, context.dr7, 1));
    check_eq!((got.syscall, got.sysenter), (context.syscall, context.sysenter));
    check_eq!((got.kernel_gs_base, got.online), (context.kernel_gs_base, 1));
    for i in 0..8 {
        let (is, was) = (got.segments[i], context.segments[i]);
        // An unusable segment keeps nothing but that.
        let both = was.rights & 0x80 == 0 && is.rights & 0x80 == 0;
        check!(both || is.rights & 0x60ff == was.rights & 0x60ff, "segment {i}: {is:x?}");
        check!(both || is.base == was.base && is.selector == was.selector, "segment {i}");
    }
    context = first_context(child_main());
    ok!(host::set_context(child.id, 0, &context));
    child.start()?;
    child.wait_for(0, 1)?;
    check_eq!(host::context(child.id, 0).map(|c| c.rip), Err(Status::State));
    check_eq!(host::set_context(child.id, 0, &context), Err(Status::State));
    child.pause()?;
    check_eq!(ok!(host::vcpu(child.id, 0)).state, run_state::STOPPED);
    let mut spinning = ok!(host::context(child.id, 0));
    check_eq!((spinning.gpr[15], spinning.gpr[14]), (MARK, 0));
    check!(start::image().contains(&spinning.rip), "rip {:#x}", spinning.rip);
    spinning.gpr[14] = 1;
    spinning.gpr[15] = !MARK;
    ok!(host::set_context(child.id, 0, &spinning));
    child.start()?;
    child.finish()?;
    check_eq!(child.mail()?.from(1), !MARK);
    cpu::cli();
    child.destroy()
}

fn child_main() -> fn() -> Outcome {
    child
}
