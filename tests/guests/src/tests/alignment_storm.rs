// SPDX-License-Identifier: MIT OR Apache-2.0
//! #AC: user mode with alignment checks gets it; a guest whose #AC handler
//! raises #AC again ends by itself or spins, and holds nobody up.

use core::arch::asm;

use hv_guest::{Outcome, check, check_eq, cpu, skip, trap};

use crate::child::{self, Child};

extern "C" fn misaligned() -> ! {
    // SAFETY: sets AC and reads misaligned from its own stack: #AC.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], 0x40000",
            "popfq",
            "mov rax, [rsp - 63]",
            "ud2",
            options(noreturn)
        )
    }
}

fn once() -> Outcome {
    cpu::set_cr0(cpu::cr0() | 1 << 18);
    for _ in 0..10 {
        let fault = trap::user(misaligned);
        if fault.is_ud() {
            return Err(skip!("this CPU does not check alignment"));
        }
        check_eq!(fault.vector, trap::vector::ALIGNMENT, "{fault:?}");
        check!(fault.user && fault.error == 0);
    }
    Ok(())
}

fn storm() -> Outcome {
    cpu::set_cr0(cpu::cr0() | 1 << 18);
    loop {
        let fault = trap::user(misaligned);
        check_eq!(fault.vector, trap::vector::ALIGNMENT);
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(once)?;
    let child = Child::new(storm)?;
    child.start()?;
    let start = cpu::tsc();
    for _ in 0..20 {
        cpu::spin_us(500);
        child.info()?;
    }
    check!(cpu::tsc() - start < 2000 * cpu::khz(), "the storm holds the runner up");
    child.destroy()
}
