// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does its work while others misbehave, and looks all the time
//! whether anything of its own has changed: registers of all kinds, memory,
//! events, the clock.

use core::arch::asm;

use hv_abi::Hypercall as H;
use hv_guest::cpu::{self, rdmsr, wrmsr};
use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::memory::{first_other, stamp};
use hv_guest::{Outcome, apic, check, check_eq, event, ok};

/// Set by the runner: the end.
pub const STOP: usize = 8;
/// Rounds done.
pub const ROUNDS: usize = 8;

/// Its memory, where it looks for changes.
const CANARY: u64 = super::SCRATCH;
const CANARY_BYTES: u64 = 256 << 10;
const SALT: u64 = 0x0b57_a4de_0b57_a4de;

/// SYSENTER, STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE: what each holds.
const MSRS: [(u32, u64); 8] = [
    (0x174, 0x10),
    (0x175, 0xffff_8000_1234_5000),
    (0x176, 0xffff_8000_2345_6000),
    (0xc000_0081, 0x0023_0010_0000_0000),
    (0xc000_0082, 0xffff_8000_3456_7000),
    (0xc000_0083, 0xffff_8000_4567_8000),
    (0xc000_0084, 0x4_7700),
    (0xc000_0102, 0x7fff_5678_9000),
];
const DEBUG: u64 = 0x5a5a_5a50;
const FAULT_ADDRESS: u64 = 0x1234_5678_9abc_def0;

/// General and vector registers over an exit to the core.
fn registers(round: u64) -> Outcome {
    let wrong: u64;
    // SAFETY: every register that is changed is named; rbx and rbp are saved
    // around. The vector registers are used by nobody else: this image is
    // compiled without them.
    unsafe {
        asm!(
            "push rbx", "push rbp",
            "mov rbx, r12", "mov rbp, r12",
            "movq xmm3, r12", "movq xmm15, r12",
            "xor eax, eax", "xor ecx, ecx",
            // Leaf 0 exits; rax to rdx are its answer.
            "mov rsi, r12", "mov rdi, r12", "mov r8, r12", "mov r9, r12",
            "cpuid",
            "mov rax, r12", "xor rax, rbp",
            "mov rcx, r12", "xor rcx, rsi", "or rax, rcx",
            "mov rcx, r12", "xor rcx, rdi", "or rax, rcx",
            "mov rcx, r12", "xor rcx, r8", "or rax, rcx",
            "mov rcx, r12", "xor rcx, r9", "or rax, rcx",
            "movq rcx, xmm3", "xor rcx, r12", "or rax, rcx",
            "movq rcx, xmm15", "xor rcx, r12", "or rax, rcx",
            "pop rbp", "pop rbx",
            in("r12") round.wrapping_mul(SALT),
            out("rax") wrong, out("rcx") _, out("rdx") _,
            out("rsi") _, out("rdi") _, out("r8") _, out("r9") _,
        );
    }
    check!(wrong == 0, "round {round}: a register changed, bits {wrong:#x}");
    Ok(())
}

fn machine(round: u64) -> Outcome {
    for (index, value) in MSRS {
        check_eq!(rdmsr(index), value, "round {round}: MSR {index:#x}");
    }
    check_eq!(cpu::dr0(), DEBUG, "round {round}: DR0");
    check_eq!(cpu::cr2(), FAULT_ADDRESS, "round {round}: CR2");
    check_eq!(cpu::cr8(), 1, "round {round}: CR8");
    check_eq!(cpu::xcr0(), 3, "round {round}: XCR0");
    Ok(())
}

/// Its main function.
pub fn main() -> Outcome {
    // OSFXSR, OSXSAVE.
    cpu::set_cr4(cpu::cr4() | 1 << 9 | 1 << 18);
    cpu::xsetbv(0, 3);
    MSRS.iter().for_each(|(index, value)| wrmsr(*index, *value));
    cpu::set_dr0(DEBUG);
    cpu::set_cr2(FAULT_ADDRESS);
    cpu::set_cr8(1);
    // SAFETY: memory of this child that nothing else uses.
    unsafe { stamp(CANARY, CANARY_BYTES, SALT) };
    ok!(event::setup());
    let port = ok!(call(H::EventBindIpi { vcpu: 0 }));
    let mut round = 0u64;
    let mut before = cpu::tsc();
    while MAIL.to(STOP) == 0 {
        round += 1;
        registers(round)?;
        machine(round)?;
        ok!(call(H::EventSend { port }));
        cpu::let_in();
        check_eq!(u64::from(event::seen(port)), round, "events of port {port}");
        let now = cpu::tsc();
        check!(now > before, "round {round}: the TSC went from {before} to {now}");
        before = now;
        let part = round % 64 * (CANARY_BYTES / 64);
        // SAFETY: as above.
        let other = unsafe { first_other(CANARY + part, CANARY_BYTES / 64, |at| at ^ SALT) };
        check!(other.is_none(), "round {round}: memory changed: {other:x?}");
        if round.is_multiple_of(16) {
            apic::sleep_us(20);
        }
        MAIL.answer(ROUNDS, round);
    }
    Ok(())
}
