// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes of CR8, the guest's task priority, while an interrupt waits: for the
//! priority to fall, or in a window. They are intercepted, carried out by a
//! single step without the intercept, and seen by the kernel crate, which looks
//! at the priority before each entry.
//!
//! The CPU itself could wait for the priority (V_INTR_PRIO, APM Vol. 2,
//! 15.21.4). QEMU's TCG 7.2, however, aborts when CR8 is written while a
//! virtual interrupt is pending: so none is, at that moment.

use super::vcpu::SvmVcpu;
use crate::exit::Exit;
use crate::vendor::regs::{dr6, rflags};
use crate::vendor::svm::decode::Meaning;
use crate::vendor::svm::layout::{CR8_WRITE, clean};

/// #GP is caught while a step of ours is under way: its frame must not show TF.
const PROTECTION: u32 = 1 << 13;

/// How far a write of CR8 has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// There is none.
    No,
    /// It is the next instruction.
    Next,
    /// It runs now; TF is the guest's own.
    Free,
    /// It runs now; TF is set to learn of its end.
    Step,
}

impl SvmVcpu {
    /// Before a run that wants this window: the window it gets. `event`: the
    /// run begins with an event, so another instruction is next.
    pub(super) fn prepare_priority(&mut self, window: u64, event: bool) -> u64 {
        let waits = window != 0 || self.wish_priority;
        let pass = self.passing == Passing::Next && !event;
        self.passing = match (pass, self.vmcb().save.rflags & rflags::TF != 0) {
            (false, _) => Passing::No,
            (true, true) => Passing::Free,
            (true, false) => Passing::Step,
        };
        let intercept = waits && !pass;
        if intercept != (self.vmcb().control.intercept_cr & CR8_WRITE != 0) {
            self.change(clean::INTERCEPTS).control.intercept_cr ^= CR8_WRITE;
        }
        if self.passing == Passing::Step {
            let vmcb = self.change(clean::INTERCEPTS);
            vmcb.save.rflags |= rflags::TF;
            vmcb.control.intercept_exceptions |= PROTECTION;
        }
        if pass { 0 } else { window }
    }

    /// After a run with a write of CR8: true if the exit was only its end.
    pub(super) fn passed(&mut self, meaning: &Meaning) -> bool {
        let step = core::mem::replace(&mut self.passing, Passing::No) == Passing::Step;
        if !step {
            return false;
        }
        let vmcb = self.change(clean::INTERCEPTS);
        vmcb.save.rflags &= !rflags::TF;
        vmcb.control.intercept_exceptions &= !PROTECTION;
        let done = matches!(meaning, Meaning::Exit(Exit::Exception { vector: 1, .. }));
        if done {
            self.change(clean::DEBUG).save.dr6 &= !dr6::BS;
        }
        done
    }
}
