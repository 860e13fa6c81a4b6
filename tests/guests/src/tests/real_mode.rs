// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU in real mode: interrupts through its vector table, HLT, ports, a
//! hypercall, and another INIT and start-up IPI that begin it anew.

use core::arch::global_asm;

use hv_guest::apic::{self, kind};
use hv_guest::{Outcome, check, check_eq, cpu};

use crate::child;

const PAGE: u64 = 0x9000;
const RESULTS: u64 = 0xa000;

// 16-bit code for PAGE: counts its starts, sets vector 0x21 and calls it,
// reads a port, makes both forms of a Version call behind a #UD handler that
// skips three bytes, and waits.
global_asm!(
    r#"
.section .rodata.real_mode, "a", @progbits
.globl real_mode_begin
real_mode_begin:
.code16
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x8ff0, %sp
    incw 0xa000
    movw $(0x9000 + 2f - real_mode_begin), 0x84
    movw %ax, 0x86
    movw $(0x9000 + 3f - real_mode_begin), 0x18
    movw %ax, 0x1a
    int $0x21
    movw $0x3f8, %dx
    inb %dx, %al
    movb %al, 0xa004
    xorl %eax, %eax
    xorl %edx, %edx
    vmmcall
    vmcall
    movl %edx, 0xa008
    movw $1, 0xa006
1:
    hlt
    jmp 1b
2:
    incw 0xa002
    iret
3:
    pushw %bp
    movw %sp, %bp
    addw $3, 2(%bp)
    popw %bp
    iret
.code64
.globl real_mode_end
real_mode_end:
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static real_mode_begin: u8;
    static real_mode_end: u8;
}

fn word(offset: u64) -> u16 {
    // SAFETY: the child's own low memory, which the other vCPU writes.
    unsafe { ((RESULTS + offset) as *const u16).read_volatile() }
}

fn child() -> Outcome {
    let begin = &raw const real_mode_begin;
    let length = (&raw const real_mode_end) as usize - begin as usize;
    // SAFETY: the child's own low memory, used for nothing else.
    unsafe { core::ptr::copy_nonoverlapping(begin, PAGE as *mut u8, length) };
    for round in 1..=3 {
        // SAFETY: as above.
        unsafe { ((RESULTS + 6) as *mut u16).write_volatile(0) };
        apic::send(1, kind::INIT);
        cpu::spin_us(200);
        apic::send(1, kind::STARTUP | PAGE >> 12);
        check!(cpu::wait_until(5000, || word(6) == 1), "round {round}");
        check_eq!((word(0), word(2)), (round, round), "starts, interrupts");
        check_eq!(word(4) & 0xff, 0xff, "a port in real mode");
        let version = u32::from(word(8)) | u32::from(word(10)) << 16;
        check_eq!(version, hv_abi::ABI_VERSION, "a hypercall in real mode");
    }
    // A start-up IPI to a vCPU that runs is ignored.
    apic::send(1, kind::STARTUP | PAGE >> 12);
    cpu::spin_us(2000);
    check_eq!(word(0), 3);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run_smp(2, child)
}
