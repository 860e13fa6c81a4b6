// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions and interrupts that arrive while the core runs: the interrupt
//! descriptor table, shared by all CPUs, and where each vector goes.
//!
//! An exception in the core is a bug and ends in `fault`, but for the few
//! instructions that are expected to fail: those are listed in a table of
//! (instruction, where to go on), made by [`fixup`]'s users.
// UNSAFETY: the interrupt entry, and the tables the linker script delimits.
#![allow(unsafe_code)]

use super::{desc, fault, irq, percpu};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

global_asm!(include_str!("trap.s"), options(att_syntax));

/// Registers at the moment of a trap, as trap.s leaves them on the stack.
#[repr(C)]
pub(super) struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const MACHINE_CHECK: u64 = 18;

/// An instruction that may fail, and where execution goes on if it does.
#[repr(C)]
struct Fixup {
    at: u64,
    resume: u64,
}

unsafe extern "C" {
    static trap_entries: u8;
    static fixup_start: u8;
    static fixup_end: u8;
}

/// 256 gates of two words.
static GATES: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// Fills the table; once, on the boot CPU.
pub(super) fn init() {
    let entries = &raw const trap_entries as u64;
    for (vector, gate) in GATES.chunks_exact(2).enumerate() {
        let at = entries + 16 * vector as u64;
        let stack = match vector as u64 {
            DOUBLE_FAULT => desc::STACK_DOUBLE_FAULT,
            NMI => desc::STACK_NMI,
            MACHINE_CHECK => desc::STACK_MACHINE_CHECK,
            _ => 0,
        };
        // A present 64-bit interrupt gate (SDM vol. 3, 6.14.1).
        let low = at & 0xffff
            | u64::from(desc::CODE) << 16
            | u64::from(stack) << 32
            | 0x8e << 40
            | (at >> 16 & 0xffff) << 48;
        for (word, value) in gate.iter().zip([low, at >> 32]) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// Puts the table into use on the running CPU.
pub(super) fn load() {
    let pointer = DescriptorTablePointer {
        limit: size_of_val(&GATES) as u16 - 1,
        base: VirtAddr::from_ptr(&raw const GATES),
    };
    // SAFETY: `init` has filled the table with gates to trap.s's entries; it
    // is never freed.
    unsafe { lidt(&pointer) };
}

#[unsafe(no_mangle)]
extern "C" fn trap_taken(frame: &mut Frame) {
    match frame.vector {
        NMI => {
            percpu::here().nmis.fetch_add(1, Ordering::Relaxed);
            fault::stop_if_asked(frame);
        }
        0..32 => match fixup(frame.rip) {
            Some(resume) if frame.vector != DOUBLE_FAULT && frame.vector != MACHINE_CHECK => {
                frame.rip = resume;
            }
            _ => fault::exception(frame),
        },
        vector => irq::handle(vector as u8),
    }
}

/// Where to go on after a failure of the instruction at `rip`.
fn fixup(rip: u64) -> Option<u64> {
    let start = (&raw const fixup_start).cast::<Fixup>();
    let bytes = &raw const fixup_end as usize - start as usize;
    // SAFETY: the linker script puts exactly the entries of `.fixup_table`
    // between these symbols, in read-only data, 8-byte aligned.
    let table = unsafe { core::slice::from_raw_parts(start, bytes / size_of::<Fixup>()) };
    table.iter().find(|entry| entry.at == rip).map(|entry| entry.resume)
}
