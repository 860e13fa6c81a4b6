// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random accesses to what a bare machine has: MSRs, ports, CPUID, memory,
//! control and debug registers. Each works or faults; what the interpreter
//! itself lives on is put back at once.

use core::arch::asm;

use hv_guest::cpu::{self, cpuid, port_in, port_out, try_rdmsr, try_wrmsr};
use hv_guest::hypercall::{Door, door};
use hv_guest::memory::{try_read, try_write};
use hv_guest::trap::{catch, vector};
use hv_guest::{apic, smp, start};

use super::{END, LOSABLE, SCRATCH, Tape, VICTIM, bad, judge};

const EFER: u32 = 0xc000_0080;
const GS_BASE: u32 = 0xc000_0101;

/// Registers that mean something to somebody, and blocks of them.
const BASES: [(u32, u64); 14] = [
    (0x00, 0x100),
    (0x10, 1),
    (0x174, 3),
    (0x179, 0x30),
    (0x1d9, 0x10),
    (0x200, 0x100),
    (0x277, 1),
    (0x400, 0x90),
    (0x480, 0x20),
    (0x6e0, 1),
    (0x800, 0x100),
    (0x4000_0000, 0x200),
    (0xc000_0080, 0x90),
    (0xc001_0000, 0x200),
];

fn index(tape: &mut Tape) -> u32 {
    if tape.below(16) == 0 {
        return tape.word() as u32;
    }
    let (base, count) = BASES[tape.below(BASES.len() as u64) as usize];
    base + tape.below(count) as u32
}

/// An interrupt command that hits the victim, or a vector to anybody.
fn command(tape: &mut Tape) -> u64 {
    let victim = (VICTIM as u64) << 32;
    match tape.below(6) {
        0 => victim | apic::kind::INIT,
        1 => victim | apic::kind::STARTUP | smp::PAGE >> 12,
        2 => apic::kind::NMI | tape.below(4) << 18 | tape.below(4) << 32,
        3 if tape.wild() => tape.word(),
        _ => 0x20 | tape.below(0x100) | tape.below(4) << 18 | tape.below(5) << 32,
    }
}

fn written(index: u32, tape: &mut Tape) -> u64 {
    match index {
        apic::msr::COMMAND => command(tape),
        // An interrupt below 32 would look like an exception to the handlers.
        apic::msr::SELF_IPI | apic::msr::TIMER => tape.value() | 0x20,
        0x82f..=0x837 => tape.value() | 0x20,
        apic::msr::DEADLINE => cpu::tsc() + tape.below(1 << 20),
        _ => tape.value(),
    }
}

/// RDMSR and WRMSR.
pub fn msr(tape: &mut Tape) {
    let index = index(tape);
    if tape.below(2) == 0 {
        judge(2, index.into(), try_rdmsr(index).map(|_| ()));
        return;
    }
    let value = written(index, tape);
    match index {
        // Every handler needs it: written and put back without a break.
        GS_BASE => {
            let old = cpu::rdmsr(GS_BASE);
            let new = old ^ 1 << tape.below(64);
            judge(
                3,
                index.into(),
                catch(|| [new, old].map(|v| cpu::wrmsr(GS_BASE, v))).map(|_| ()),
            );
        }
        EFER => {
            let old = cpu::rdmsr(EFER);
            judge(3, index.into(), try_wrmsr(index, value));
            cpu::wrmsr(EFER, old);
        }
        _ => judge(3, index.into(), try_wrmsr(index, value)),
    }
}

/// IN and OUT, and their string forms, which the core refuses.
pub fn port(tape: &mut Tape) {
    let (port, size) = (tape.word() as u16, 1 << tape.below(3));
    match tape.below(8) {
        0..=3 => port_out(port, size, tape.word() as u32),
        4..=6 => {
            let ones = u64::MAX >> (64 - 8 * u32::from(size));
            let got = port_in(port, size, 0);
            if got != ones {
                bad(4, port.into(), got);
            }
        }
        _ => {
            let (at, count) = (tape.memory().min(LOSABLE - 0x1000), tape.below(8));
            // SAFETY: the buffer is the program's own and may hold anything.
            let done = catch(|| unsafe {
                asm!("rep insb", inout("rdi") at => _, inout("rcx") count => _, in("dx") port,
                    options(nostack));
            });
            judge(5, port.into(), done);
            // SAFETY: only reads the buffer.
            let done = catch(|| unsafe {
                asm!("rep outsd", inout("rsi") at => _, inout("rcx") count => _, in("dx") port,
                    options(nostack));
            });
            judge(5, port.into(), done);
        }
    }
}

/// CPUID.
pub fn leaf(tape: &mut Tape) {
    let leaf = match tape.below(4) {
        0 => tape.word() as u32,
        1 => 0x4000_0000 + tape.below(0x110) as u32,
        2 => 0x8000_0000 + tape.below(0x30) as u32,
        _ => tape.below(0x30) as u32,
    };
    let [_, _, c, d] = cpuid(leaf, tape.value() as u32);
    // VMX (leaf 1, ecx bit 5), SVM (leaf 8000_0001, ecx bit 2) are never shown.
    let shows = leaf == 1 && c >> 5 & 1 == 1 || leaf == 0x8000_0001 && c >> 2 & 1 == 1;
    if shows {
        bad(6, leaf.into(), u64::from(c) << 32 | u64::from(d));
    }
}

/// Reads, writes and fetches.
pub fn page(tape: &mut Tape) {
    let inside = SCRATCH + tape.below(LOSABLE - SCRATCH);
    match tape.below(8) {
        0..=2 => {
            if try_read(inside).is_err() {
                bad(7, inside, 0);
            }
        }
        3..=5 => {
            let value = tape.value();
            // SAFETY: the scratch memory is nobody's.
            if unsafe { try_write(inside, value) }.is_err() {
                bad(8, inside, value);
            }
        }
        6 => {
            let at = inside & !0xf;
            // SAFETY: a RET (0xc3) is written there and called; the other
            // vCPU may have written over it, and then it may fault.
            let _ = catch(|| unsafe {
                (at as *mut u8).write_volatile(0xc3);
                if tape.wild() {
                    asm!("call {}", in(reg) at, clobber_abi("C"));
                }
            });
        }
        _ => {
            // Beyond the tables or not canonical: the guest's own fault. What
            // the tables map and the core does not is the program's end.
            let outside = match tape.wild() {
                true => END + 0x20_0000 + tape.below(1 << 38),
                false => tape.word() | 1 << 45,
            };
            match try_read(outside) {
                Err(f) if [vector::PAGE_FAULT, vector::GENERAL_PROTECTION].contains(&f.vector) => {}
                Err(f) => bad(9, outside, f.vector.into()),
                Ok(_) => bad(9, outside, 0),
            }
        }
    }
}

/// CR4 bits under which supervisor code can't use pages that are open to user
/// mode, as all are here: SMEP, SMAP; and PKE, which needs a PKRU.
const CR4_FATAL: u64 = 1 << 20 | 1 << 21 | 1 << 22;

/// A value for a control register. QEMU's TCG 7.2 ends a MOV that sets reserved
/// bits by VMEXIT_INVALID, in the middle of the guest, where a CPU raises #GP,
/// and leaves long mode where a CPU refuses to; so with AMD-V there are only
/// bits that may change.
fn tame(value: u64, may: u64, must: u64) -> u64 {
    match door() {
        Door::Vmmcall => value & may | must,
        Door::Vmcall => value,
    }
}

/// CR0: NE, ET, TS, EM, MP, WP, AM, CD; PE and PG.
const CR0_MAY: u64 = 0x4005_003e;
const CR0_MUST: u64 = 0x8000_0011;
/// CR4: those that every CPU here has.
const CR4_MAY: u64 = 0x5_07ff;

/// Control, debug and extended control registers.
pub fn control(tape: &mut Tape) {
    let value = tape.value();
    match tape.below(9) {
        0 => {
            let old = cpu::cr0();
            let value = tame(value, CR0_MAY, CR0_MUST);
            judge(10, value, catch(|| cpu::set_cr0(value)));
            judge(10, value, catch(|| cpu::set_cr0(old ^ value & CR0_MAY)));
            cpu::set_cr0(old);
        }
        1 => cpu::set_cr2(value),
        2 => {
            let bits = if tape.wild() { value } else { value & 0x18 | value & 3 << 61 };
            let bits = tame(bits, 0x18, 0);
            judge(11, value, catch(|| cpu::set_cr3(start::tables() | bits)));
            cpu::set_cr3(start::tables());
        }
        3 | 4 => {
            let old = cpu::cr4();
            let new = match tape.below(2) {
                0 => value,
                _ => old ^ 1 << tape.below(24),
            };
            let new = tame(new, CR4_MAY, old & 1 << 5);
            let new = if tape.wild() { new } else { new & !CR4_FATAL };
            judge(12, new, catch(|| cpu::set_cr4(new)));
            // PCIDE may be what changed: CR3's low bits are zero then.
            cpu::set_cr4(old);
        }
        5 => {
            match door() {
                // QEMU's TCG 7.2 itself fails (an assertion) at a MOV to CR8
                // while a virtual interrupt waits.
                Door::Vmmcall => judge(13, value, try_wrmsr(apic::msr::TPR, value)),
                Door::Vmcall => judge(13, value, catch(|| cpu::set_cr8(value))),
            }
            cpu::wrmsr(apic::msr::TPR, 0);
        }
        6 => {
            let at = SCRATCH + tape.below(0x1000);
            judge(14, value, catch(|| cpu::set_dr0(at)));
            // QEMU's TCG 7.2 keeps what a guest that stopped had set, takes it
            // for another kind when DR7's upper bits change, and crashes.
            let value = tame(value, 0, 0x400);
            judge(14, value, catch(|| cpu::set_dr7(value)));
            judge(14, value, catch(|| cpu::set_dr6(tape.value())));
            // What the breakpoints are good for; the handler turns them off.
            let _ = try_read(at & !7);
            judge(14, value, catch(|| cpu::set_dr7(0x400)));
        }
        7 => {
            let old = cpu::cr4();
            cpu::set_cr4(old | 1 << 18);
            judge(15, value, catch(|| cpu::xsetbv(0, value)));
            judge(15, value, catch(|| cpu::xsetbv(tape.below(4) as u32, tape.below(8))));
            judge(15, value, catch(|| cpu::xsetbv(0, 1)));
            cpu::set_cr4(old);
        }
        _ => cpu::let_in(),
    }
}
