// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run of a vCPU on VT-x: what is decided before and after it.
// UNSAFETY: the world switch; INT for an NMI or #MC that ended a run.
#![allow(unsafe_code)]

use core::arch::asm;

use super::fields::Fields;
use super::vcpu::{Refused, VmxVcpu, Wish};
use super::{cpu, entry};
use crate::addr::CpuId;
use crate::exit::gpr::{RAX, RCX, RDX};
use crate::exit::{Event, Exit};
use crate::vendor::queue::Open;
use crate::vendor::regs::{cr0, dr6, dr7, efer, rflags};
use crate::vendor::vmx::decode::{Meaning, Raw, cut_short, decode, inject, nmi_still_blocked};
use crate::vendor::vmx::layout::{
    PENDING_STEP, entry_failure, event, field, primary, reason, shadow,
};
use crate::vendor::vmx::state;
use crate::x86::vcpu::VendorVcpu;
use crate::x86::{barrier, cpu as machine, irq};

impl VmxVcpu {
    /// Sets or clears a primary control.
    fn control(&mut self, fields: &mut Fields, bit: u32, on: bool) {
        let new = if on { self.primary | bit } else { self.primary & !bit };
        if new != self.primary {
            self.primary = new;
            fields.write(field::PRIMARY, new.into());
        }
    }

    /// What must be so before each run. An error is the core's own.
    pub(super) fn prepare(&mut self, here: CpuId, f: &mut Fields) -> Result<(), &'static str> {
        let features = cpu::features();
        let tag = cpu::tag(here, self.tag);
        if self.tag != Some(tag) {
            self.tag = Some(tag);
            if features.controls.vpid {
                f.write(field::VPID, tag.number().into());
            }
        }
        if self.stale || self.last_cpu != Some(here) {
            cpu::flush(self.eptp());
            self.stale = false;
            self.last_cpu = Some(here);
        }
        // The guest's mode may have changed without an exit; SDM Vol. 3,
        // 28.3.2, has the CPU follow, and this is right in any case.
        let (efer, controls) = (f.read(field::GUEST_EFER), f.word(field::ENTRY));
        let mode = state::mode(efer, controls);
        if mode != controls {
            f.write(field::ENTRY, mode.into());
        }
        if self.queue.busy() || self.queue.nmi() {
            self.prepare_event(f);
        }
        let window = self.queue.interrupt() || self.wish == Wish::Window;
        self.control(f, primary::INTERRUPT_WINDOW, window);
        self.control(f, primary::NMI_WINDOW, self.queue.nmi());
        let assist = features.controls.assist;
        if assist.tpr && !assist.delivery {
            // It may not be above what the TPR is (27.2.1.1).
            let threshold = match self.wish {
                Wish::Priority(class) => class.min(self.tpr() >> 4),
                _ => 0,
            };
            if threshold != self.threshold {
                self.threshold = threshold;
                f.write(field::TPR_THRESHOLD, threshold.into());
            }
        }
        if !self.checked {
            self.check()?;
            self.checked = true;
        }
        Ok(())
    }

    fn prepare_event(&mut self, f: &mut Fields) {
        let shadows = f.read(field::INTERRUPTIBILITY);
        let plain = shadows & (shadow::STI | shadow::MOV_SS) == 0;
        let open = Open {
            interrupt: f.read(field::GUEST_RFLAGS) & rflags::IF != 0 && plain,
            nmi: plain && shadows & shadow::NMI == 0,
        };
        if let Some(event) = self.queue.take(open) {
            let protected = f.read(field::GUEST_CR0) & cr0::PE != 0;
            let (info, error) = inject(event, protected);
            f.write(field::ENTRY_EVENT, info.into());
            f.write(field::ENTRY_ERROR, error.into());
        }
    }

    /// What an exit leaves to do, whatever its reason.
    fn settle(&mut self, f: &mut Fields, raw: &Raw) {
        let vectoring = f.word(field::VECTORING_EVENT);
        if vectoring & event::VALID != 0 {
            let error = f.word(field::VECTORING_ERROR);
            if let Some(event) = cut_short(vectoring, error) {
                if event == Event::Nmi {
                    // It was not delivered, so it blocks nothing (28.2.4).
                    let shadows = f.read(field::INTERRUPTIBILITY);
                    f.write(field::INTERRUPTIBILITY, shadows & !shadow::NMI);
                }
                self.queue.put(event);
            }
        }
        if nmi_still_blocked(raw, vectoring) {
            let shadows = f.read(field::INTERRUPTIBILITY);
            f.write(field::INTERRUPTIBILITY, shadows | shadow::NMI);
        }
    }

    /// A debug exception that was intercepted has changed no register yet
    /// (28.1): DR6 gets what it would have told, and DR7.GD is cleared.
    fn debug_exception(&mut self, f: &mut Fields, told: u64) {
        let causes = 0xf | 1 << 13 | dr6::BS;
        let old = self.live.dr6() & !0xf;
        self.live.set_dr6(old | told & causes);
        f.write(field::GUEST_DR7, f.read(field::GUEST_DR7) & !dr7::GD);
    }

    /// What an exit has left. Fields that its reason does not use are 0: each
    /// read takes its time.
    pub(super) fn raw(&self, f: &Fields) -> Raw {
        let number = f.word(field::REASON);
        let basic = number & 0xffff;
        let (exception, memory) = (basic == reason::EXCEPTION, basic == reason::EPT_VIOLATION);
        let interrupt = basic == reason::EXTERNAL_INTERRUPT;
        let only = |wanted: bool, field: u32| if wanted { f.read(field) } else { 0 };
        Raw {
            reason: number,
            qualification: f.read(field::QUALIFICATION),
            guest_physical: only(
                memory || basic == reason::EPT_MISCONFIGURED,
                field::GUEST_PHYSICAL,
            ),
            event: only(exception || interrupt, field::EXIT_EVENT) as u32,
            error: only(exception, field::EXIT_ERROR) as u32,
            length: f.word(field::EXIT_LENGTH),
            rip: f.read(field::GUEST_RIP),
            rax: self.regs[RAX],
            rcx: self.regs[RCX],
            rdx: self.regs[RDX],
        }
    }

    /// Runs it once. `prepare` has been called.
    pub(super) fn run(&mut self, f: &mut Fields) -> Exit {
        self.next_rip = None;
        barrier::before_entry();
        let fill = barrier::needed().returns.into();
        let regs = &raw mut self.regs;
        // SAFETY: this vCPU's VMCS is current (`f`), its host state is of
        // this CPU since `load`, interrupts are off as always in the core, and
        // EPT is that of this vCPU's domain.
        if unsafe { entry::run(regs, self.launched.into(), fill) } != 0 {
            let (why, number) = f.error();
            f.write(field::ENTRY_EVENT, 0);
            self.refused = Some(Refused::Instruction(number));
            return Exit::Failed(self.check().err().unwrap_or(why), number);
        }
        self.launched = true;
        let raw = self.raw(f);
        self.settle(f, &raw);
        let (meaning, next) = decode(&raw);
        self.next_rip = next;
        match meaning {
            Meaning::Exit(exit) => self.finish(f, &raw, exit),
            Meaning::Control(control) => self.move_control(f, &control),
            Meaning::NmiWindow => Exit::Handled,
            Meaning::EntryFailed(reason) => {
                // Still there, unlike after an exit (25.8.3).
                f.write(field::ENTRY_EVENT, 0);
                self.refused = Some(Refused::State(reason, raw.qualification));
                let why = entry_failure(reason, raw.qualification);
                Exit::Failed(self.check().err().unwrap_or(why), reason.into())
            }
        }
    }

    fn finish(&mut self, f: &mut Fields, raw: &Raw, exit: Exit) -> Exit {
        match exit {
            // The CPU has taken it from the APIC already, if it can.
            Exit::Interrupt if raw.event & event::VALID != 0 => irq::handle(raw.event as u8),
            Exit::Interrupt => machine::take_pending(),
            // The CPU has taken it off its pin and blocks the next until an
            // IRET (28.5.4): the core's own handler gets it.
            // SAFETY: vector 2 has a gate, on a stack of its own.
            Exit::Nmi => unsafe { asm!("int 2", options(nostack)) },
            // The machine's affair: ends in a report.
            // SAFETY: as above, vector 18.
            Exit::Exception { vector: 18, .. } => unsafe { asm!("int 18", options(nostack)) },
            Exit::Exception { vector: 1, .. } => {
                self.debug_exception(f, raw.qualification);
                // Behind INT1, whose handler returns there.
                self.pass(f);
            }
            // Only for an interrupt that waits in the queue.
            Exit::Window if self.wish == Wish::Nothing => return Exit::Handled,
            Exit::Window => self.wish = Wish::Nothing,
            _ => {}
        }
        exit
    }
}

/// Goes behind an instruction, to `next`.
pub(super) fn step(f: &mut Fields, next: u64) {
    // CS is the second segment; bit 13 is L.
    let long = f.read(field::GUEST_EFER) & efer::LMA != 0
        && f.read(field::GUEST_RIGHTS + 2) & 1 << 13 != 0;
    f.write(field::GUEST_RIP, if long { next } else { next & 0xffff_ffff });
    let shadows = f.read(field::INTERRUPTIBILITY);
    let blocked = shadow::STI | shadow::MOV_SS;
    if shadows & blocked != 0 {
        f.write(field::INTERRUPTIBILITY, shadows & !blocked);
    }
    // The instruction is done: a single step ends behind it (27.7.3).
    if f.read(field::GUEST_RFLAGS) & rflags::TF != 0 {
        let pending = f.read(field::PENDING_DEBUG);
        f.write(field::PENDING_DEBUG, pending | PENDING_STEP);
    }
}
