// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does everything at random. A program is a string of bytes, the
//! [`Tape`], and every string is a valid one: the interpreter takes from it
//! what to do next and with which values. So a seed names a program, and a
//! program of a few bytes can be kept as a test.
//!
//! [`calls`] makes hypercalls, [`machine`] touches MSRs, ports, CPUID, memory
//! and control registers, [`instructions`] has the rest. [`bystander`] is the
//! guest that must not notice.
//!
//! What would only end the program (a stray CR3, a touch of memory that is
//! not there, an INIT to oneself) is done as well, but seldom: [`Tape::wild`].

pub mod bystander;
pub mod calls;
pub mod instructions;
pub mod machine;

use hv_guest::hypercall::call;
use hv_guest::mail::MAIL;
use hv_guest::trap::{self, Fault, Frame, vector};
use hv_guest::{Outcome, apic, check, cpu, ok, smp};

use crate::child::EXTENT;

/// Memory that may hold anything: buffers, port words, rings.
pub const SCRATCH: u64 = 0x400_0000;
/// Memory behind it that the program may also give back.
pub const LOSABLE: u64 = SCRATCH + EXTENT * 4096;
/// The end of both.
pub const END: u64 = LOSABLE + EXTENT * 4096;

/// The vCPU that the other two send interrupts, INIT and start-up IPIs.
pub const VICTIM: usize = 2;

/// Words of the mailbox.
pub mod word {
    #![allow(missing_docs)]
    /// To the child.
    pub const SEED: usize = 0;
    pub const OPERATIONS: usize = 1;
    /// Which kinds of operations: bits by [`super::Kind`].
    pub const KINDS: usize = 2;
    /// From the child: operations done, by vCPU 0 and vCPU 1.
    pub const DONE: usize = 0;
    /// From the child: what was wrong, if anything was.
    pub const BAD_KIND: usize = 4;
    pub const BAD_WHAT: usize = 5;
    pub const BAD_GOT: usize = 6;
}

/// One wild operation in so many.
const WILD: u64 = 20_000;

/// A program: bytes made from a seed by xorshift64* (Marsaglia, Vigna).
pub struct Tape(u64);

impl Tape {
    /// The program of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next eight bytes.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`. The low bits are the weaker ones.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.word() >> 16) % limit
    }

    /// The program may end itself with this operation.
    pub fn wild(&mut self) -> bool {
        self.below(WILD) == 0
    }

    /// A value, mostly one that is near something.
    pub fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => self.word(),
            1 => 1 << self.below(64),
            2 => (1 << self.below(64)) - 1,
            3 => !(1 << self.below(64)),
            4 => self.below(0x1000),
            5 => u64::MAX - self.below(16),
            6 => self.memory(),
            _ => self.below(16),
        }
    }

    /// An address in or shortly behind the program's memory.
    pub fn memory(&mut self) -> u64 {
        let at = SCRATCH + self.below(END + 0x3000 - SCRATCH);
        match self.below(4) {
            0 => at,
            1 => at & !7,
            2 => at | 0xff8,
            _ => at & !0xfff,
        }
    }
}

/// Kinds of operations; `fuzz_kinds=` of the runner is a word of their bits.
#[derive(Clone, Copy)]
pub enum Kind {
    /// [`calls`]
    Call,
    /// [`machine::msr`]
    Msr,
    /// [`machine::port`]
    Port,
    /// [`machine::leaf`]
    Leaf,
    /// [`machine::page`]
    Page,
    /// [`machine::control`]
    Control,
    /// [`instructions`]
    Instruction,
}

impl Kind {
    /// All of them.
    pub const ALL: u64 = 0x7f;

    fn next(tape: &mut Tape) -> Self {
        match tape.below(32) {
            0..=9 => Self::Call,
            10..=15 => Self::Msr,
            16..=18 => Self::Port,
            19..=21 => Self::Leaf,
            22..=26 => Self::Page,
            27..=29 => Self::Control,
            _ => Self::Instruction,
        }
    }
}

/// What is not as it must be.
pub fn bad(kind: u64, what: u64, got: u64) {
    if MAIL.from(word::BAD_KIND) == 0 {
        MAIL.answer(word::BAD_WHAT, what);
        MAIL.answer(word::BAD_GOT, got);
        MAIL.answer(word::BAD_KIND, kind);
    }
}

/// A fault that a privileged access may end in: #GP, or #UD where the
/// instruction does not exist.
pub fn judge(kind: u64, what: u64, result: Result<(), Fault>) {
    if let Err(fault) = result
        && !fault.is_gp()
        && !fault.is_ud()
    {
        bad(kind, what, u64::from(fault.vector) << 32 | fault.error);
    }
}

fn debug(frame: &mut Frame) {
    // Breakpoints off; on with the instruction that met one (RF), without
    // single steps (SDM Vol. 3, 19.3.1.1).
    cpu::set_dr7(0x400);
    frame.rflags = frame.rflags & !(1 << 8) | 1 << 16;
}

fn nothing(_: &mut Frame) {}

/// Interprets the program of one vCPU.
fn interpret(index: usize) {
    let seed = MAIL.to(word::SEED);
    let mut tape = Tape::new(seed ^ (index as u64) << 48);
    let (operations, kinds) = (MAIL.to(word::OPERATIONS), MAIL.to(word::KINDS));
    let mut done = 0;
    while done < operations {
        let kind = Kind::next(&mut tape);
        if kinds >> kind as u32 & 1 == 0 {
            continue;
        }
        match kind {
            Kind::Call => calls::one(&mut tape),
            Kind::Msr => machine::msr(&mut tape),
            Kind::Port => machine::port(&mut tape),
            Kind::Leaf => machine::leaf(&mut tape),
            Kind::Page => machine::page(&mut tape),
            Kind::Control => machine::control(&mut tape),
            Kind::Instruction => instructions::one(&mut tape),
        }
        done += 1;
        MAIL.answer(word::DONE + index, done);
    }
}

fn further(index: usize) {
    if index == VICTIM {
        loop {
            cpu::sti_hlt();
        }
    }
    interpret(index);
}

/// The child's main function.
pub fn main() -> Outcome {
    trap::on(vector::DEBUG, debug);
    trap::on(vector::NMI, nothing);
    check!(smp::start(1, further, 5000), "vCPU 1 does not start");
    // It has read its start-up page by now, and the victim's goes there.
    check!(smp::start(VICTIM, further, 5000), "vCPU 2 does not start");
    interpret(0);
    let operations = MAIL.to(word::OPERATIONS);
    // With yields: on one CPU it waits for a vCPU that waits for it.
    let done = || {
        let _ = call(hv_abi::Hypercall::SchedYield {});
        MAIL.from(word::DONE + 1) == operations
    };
    check!(cpu::wait_until(60_000, done), "vCPU 1 hangs");
    ok!(cpu::try_wrmsr(apic::msr::TPR, 0));
    Ok(())
}
