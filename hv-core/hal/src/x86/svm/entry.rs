// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world switch (APM Vol. 2, 15.5, 15.17).
//!
//! With V_INTR_MASKING, the host's IF at VMRUN says whether a physical
//! interrupt ends the guest's run, so it is set, under GIF = 0: an interrupt
//! that came since the core last looked ends the run at once, and none is
//! taken between. After the exit IF is cleared before GIF is set, so that the
//! interrupt stays pending; the caller lets it in if that was the reason. An
//! NMI is taken at STGI.
//!
//! The state of VMLOAD and VMSAVE is switched at each entry: the host's TR and
//! GS must be there before an NMI can come, for its stack and its data.
// UNSAFETY: runs the guest, with all its registers.
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};

/// Runs the guest of the block at `guest` until it exits. `regs`: its general
/// registers; rax and rsp are in the block. `host`: the area that
/// [`save_host`] has filled on this CPU. All of these but `regs` are machine
/// addresses. `fill`: 1 if the return stack is to be filled after the exit.
///
/// # Safety
/// SVM is on, interrupts are off, the block is one of a vCPU that no other CPU
/// runs, its nested tables map only what the guest may touch.
#[unsafe(naked)]
pub unsafe extern "C" fn run(guest: u64, regs: *mut [u64; 16], host: u64, fill: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rcx",
        "push rdx",
        "push rsi",
        "mov rax, rdi",
        "clgi",
        "sti",
        "vmload rax",
        "mov rcx, [rsi + 8]",
        "mov rdx, [rsi + 16]",
        "mov rbx, [rsi + 24]",
        "mov rbp, [rsi + 40]",
        "mov rdi, [rsi + 56]",
        "mov r8, [rsi + 64]",
        "mov r9, [rsi + 72]",
        "mov r10, [rsi + 80]",
        "mov r11, [rsi + 88]",
        "mov r12, [rsi + 96]",
        "mov r13, [rsi + 104]",
        "mov r14, [rsi + 112]",
        "mov r15, [rsi + 120]",
        "mov rsi, [rsi + 48]",
        "vmrun rax",
        // rax and rsp are the host's again (15.6).
        "vmsave rax",
        "mov rax, [rsp + 8]",
        "vmload rax",
        "cli",
        "stgi",
        "mov rax, [rsp]",
        "mov [rax + 8], rcx",
        "mov [rax + 16], rdx",
        "mov [rax + 24], rbx",
        "mov [rax + 40], rbp",
        "mov [rax + 48], rsi",
        "mov [rax + 56], rdi",
        "mov [rax + 64], r8",
        "mov [rax + 72], r9",
        "mov [rax + 80], r10",
        "mov [rax + 88], r11",
        "mov [rax + 96], r12",
        "mov [rax + 104], r13",
        "mov [rax + 112], r14",
        "mov [rax + 120], r15",
        // No value of the guest's goes on in a register the core could use
        // speculatively.
        "xor ecx, ecx",
        "xor edx, edx",
        "xor esi, esi",
        "xor edi, edi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "add rsp, 16",
        "pop rax",
        // 32 harmless entries, before the first return.
        "test eax, eax",
        "jz 8f",
        "mov ecx, 16",
        "9:",
        "call 6f",
        "7:",
        "pause",
        "lfence",
        "jmp 7b",
        "6:",
        "call 6f",
        "7:",
        "pause",
        "lfence",
        "jmp 7b",
        "6:",
        "dec ecx",
        "jnz 9b",
        "add rsp, 256",
        "8:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Keeps FS, GS, TR, LDTR and the system call registers of the host, by
/// VMSAVE, in the area at this machine address.
///
/// # Safety
/// SVM is on; the area is a page of this CPU's own.
pub unsafe fn save_host(area: u64) {
    // SAFETY: VMSAVE writes to the area only (15.5.2).
    unsafe { asm!("vmsave rax", in("rax") area, options(nostack, preserves_flags)) };
}
