// SPDX-License-Identifier: MIT OR Apache-2.0
//! #DB: single steps, breakpoints and INT1 reach the guest with DR6 right; a
//! storm of them inside the delivery of #DB (Xen's XSA-156) holds nobody up.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, trap};

use crate::child::{self, Child};

static DR6: AtomicU64 = AtomicU64::new(0);

fn step() -> Outcome {
    trap::on(trap::vector::DEBUG, |frame| {
        DR6.fetch_or(cpu::dr6(), Ordering::SeqCst);
        cpu::set_dr6(0xffff_0ff0);
        if trap::count(trap::vector::DEBUG) >= 5 {
            frame.rflags &= !0x100;
        }
    });
    // SAFETY: sets TF; the handler clears it after five steps.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], 0x100",
            "popfq",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop"
        )
    }
    check_eq!(trap::count(trap::vector::DEBUG), 5);
    check_eq!(DR6.swap(0, Ordering::SeqCst) & 0xe00f, 1 << 14, "DR6.BS");
    // A write breakpoint on the mailbox: DR0, 8 bytes, write.
    cpu::set_dr0(&raw const MAIL.from[5] as u64);
    cpu::set_dr7(0x400 | 1 << 1 | 0b1001 << 16);
    MAIL.answer(5, 1);
    cpu::set_dr7(0x400);
    check_eq!(trap::count(trap::vector::DEBUG), 6);
    check_eq!(DR6.swap(0, Ordering::SeqCst) & 0xe00f, 1, "DR6.B0");
    // INT1 is a trap: its handler returns behind it.
    // SAFETY: changes nothing.
    if let Err(fault) = trap::catch(|| unsafe { asm!(".byte 0xf1") }) {
        // QEMU's TCG does not know it.
        check!(fault.is_ud(), "INT1: {fault:?}");
        return Ok(());
    }
    check_eq!(trap::count(trap::vector::DEBUG), 7, "INT1");
    check_eq!(DR6.load(Ordering::SeqCst) & 0xe00f, 0, "DR6 after INT1");
    Ok(())
}

/// A data breakpoint on the stack that #DB's own delivery writes to.
fn storm() -> Outcome {
    trap::on(trap::vector::DEBUG, |_| {
        MAIL.from[0].fetch_add(1, Ordering::SeqCst);
    });
    let top = 0x1_8000_u64;
    cpu::set_dr0(top - 16);
    cpu::set_dr7(0x400 | 1 << 1 | 0b1101 << 16);
    // SAFETY: low memory is the child's own; it never comes back from here:
    // each delivery of #DB writes the frame where the breakpoint is.
    unsafe {
        asm!("mov rsp, {top}", "2:", "push rax", "push rax", "push rax", "pop rax", "pop rax",
            "pop rax", "jmp 2b", top = in(reg) top, options(noreturn))
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(step)?;
    let child = Child::new(storm)?;
    child.start()?;
    let start = cpu::tsc();
    for _ in 0..20 {
        cpu::spin_us(500);
        child.info()?;
    }
    check!(cpu::tsc() - start < 2000 * cpu::khz(), "the storm holds the runner up");
    child.pause()?;
    child.start()?;
    child.destroy()
}
