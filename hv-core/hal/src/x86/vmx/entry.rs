// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world switch (SDM Vol. 3, chapters 27, 28).
//!
//! Physical interrupts end the guest's run, whatever IF is, and are not
//! acknowledged; an exit clears IF, so they stay pending until the caller lets
//! them in. One that came since the core last looked ends the run at once.
// UNSAFETY: runs the guest, with all its registers.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use crate::vendor::vmx::layout::field::{HOST_RIP, HOST_RSP};

/// Runs the guest of the current VMCS until it exits. `regs`: its general
/// registers; rsp is in the VMCS. `launched`: it ran before, since it was
/// last cleared. `fill`: 1 if the return stack is to be filled after the exit.
/// Returns 0 after an exit, 1 if there was no entry.
///
/// # Safety
/// The VMCS that is current on this CPU is a vCPU's with host state of this
/// CPU, interrupts are off, its EPT maps only what the guest may touch.
#[unsafe(naked)]
pub unsafe extern "C" fn run(regs: *mut [u64; 16], launched: u64, fill: u64) -> u64 {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        "push rdi",
        "mov eax, {host_rsp}",
        "vmwrite rax, rsp",
        "mov eax, {host_rip}",
        "lea rdx, [rip + 3f]",
        "vmwrite rax, rdx",
        "mov rax, rdi",
        "test rsi, rsi",
        // None of these changes the flags.
        "mov rcx, [rax + 8]",
        "mov rdx, [rax + 16]",
        "mov rbx, [rax + 24]",
        "mov rbp, [rax + 40]",
        "mov rsi, [rax + 48]",
        "mov rdi, [rax + 56]",
        "mov r8, [rax + 64]",
        "mov r9, [rax + 72]",
        "mov r10, [rax + 80]",
        "mov r11, [rax + 88]",
        "mov r12, [rax + 96]",
        "mov r13, [rax + 104]",
        "mov r14, [rax + 112]",
        "mov r15, [rax + 120]",
        "mov rax, [rax]",
        "jnz 2f",
        "vmlaunch",
        "jmp 4f",
        "2:",
        "vmresume",
        "4:",
        "mov eax, 1",
        "jmp 5f",
        // The exit: rsp is the host's again, IF is clear (28.5.3).
        "3:",
        "push rax",
        "mov rax, [rsp + 8]",
        "pop qword ptr [rax]",
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
        "xor eax, eax",
        "5:",
        // No value of the guest's goes on in a register the core could use
        // speculatively.
        "xor edx, edx",
        "xor esi, esi",
        "xor edi, edi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "add rsp, 8",
        "pop rcx",
        // 32 harmless entries, before the first return.
        "test ecx, ecx",
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
        host_rsp = const HOST_RSP,
        host_rip = const HOST_RIP,
    )
}
