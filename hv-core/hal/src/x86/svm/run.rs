// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run of a vCPU on AMD-V: what is decided before and after it.
// UNSAFETY: the world switch; INT for a #MC that ended a run.
#![allow(unsafe_code)]

use core::arch::asm;

use super::priority::Passing;
use super::vcpu::{Nmis, SvmVcpu};
use super::{cpu, entry};
use crate::addr::CpuId;
use crate::exit::gpr::{RCX, RDX};
use crate::exit::{Event, Exit};
use crate::vendor::queue::Open;
use crate::vendor::regs::{cr0, dr6, rflags};
use crate::vendor::svm::check;
use crate::vendor::svm::decode::{Meaning, cut_short, decode, inject};
use crate::vendor::svm::layout::{FLUSH_ALL, SHADOW, clean, misc1, vintr};
use crate::x86::vcpu::VendorVcpu;
use crate::x86::{barrier, cpu as machine};

/// A virtual interrupt that only waits for IF. V_IGN_TPR: the kernel crate has
/// looked at the TPR (15.21.4).
pub(super) const ANY: u64 = vintr::IRQ | vintr::IGNORE_TPR | vintr::PRIORITY;

impl SvmVcpu {
    /// What must be so before each run. An error is the core's own.
    pub(super) fn prepare(&mut self, here: CpuId) -> Result<(), &'static str> {
        let (tag, flush) = cpu::tag(here, self.tag);
        if self.tag != Some(tag) {
            self.tag = Some(tag);
            self.change(clean::ASID).control.asid = tag.number();
        }
        if let Nmis::Leaving(at) = self.nmis
            && at != self.rip()
        {
            self.nmis = Nmis::Open;
        }
        let shadow = self.vmcb().control.shadow & SHADOW != 0;
        let open = self.rflags() & rflags::IF != 0 && !shadow;
        let nmi = self.nmis == Nmis::Open && !shadow;
        let event = self.queue.take(Open { interrupt: open, nmi });
        if event == Some(Event::Nmi) {
            self.nmis = Nmis::Blocked;
            self.change(clean::INTERCEPTS).control.intercept_misc1 |= misc1::IRET;
        }
        self.shadowed = (shadow && event.is_none()).then(|| self.rip());
        let leaving = matches!(self.nmis, Nmis::Leaving(_));
        if leaving && self.queue.nmi() && event.is_none() && self.rflags() & rflags::TF == 0 {
            // There is no window for NMIs: a single step over the IRET shows
            // when it is done.
            self.change(0).save.rflags |= rflags::TF;
            self.stepping = true;
        }
        let window = if self.queue.interrupt() { ANY } else { self.wish };
        let window = self.prepare_priority(window, event.is_some());
        // An interrupt goes in as a virtual one, which the CPU takes at once.
        // Injected by the event field it would be as good, but QEMU's TCG 7.2
        // may deliver that a second time, whenever its thread is kicked next.
        // Only beside a window the event field is needed.
        self.offered = match event {
            Some(Event::Interrupt(vector)) if window == 0 => Some(vector),
            _ => None,
        };
        match self.offered {
            Some(vector) => self.set_virtual(ANY | u64::from(vector) << vintr::VECTOR_SHIFT, false),
            None => self.set_virtual(window, window != 0),
        }
        let event = event.filter(|_| self.offered.is_none());
        let protected = self.vmcb().save.cr0 & cr0::PE != 0;
        let control = &mut self.change(0).control;
        // Neither field has a clean bit.
        control.tlb_control = if flush { FLUSH_ALL } else { 0 };
        control.event = event.map_or(0, |event| inject(event, protected));
        if !self.checked {
            check::check(self.vmcb(), &cpu::limits())?;
            self.checked = true;
        }
        Ok(())
    }

    /// What an exit leaves to do, whatever its reason.
    fn settle(&mut self) {
        let control = &mut self.change(0).control;
        control.event = 0;
        let cut = cut_short(control.exit_int_info);
        let untaken = control.vintr & vintr::IRQ != 0;
        // V_IRQ falls when the interrupt is taken (15.21.4). Until then, an
        // exit before the first instruction or in the delivery, it waits.
        if let Some(vector) = self.offered.take()
            && untaken
            && cut != Some(Event::Interrupt(vector))
        {
            self.queue.put(Event::Interrupt(vector));
        }
        if let Some(event) = cut {
            if event == Event::Nmi {
                self.nmis = Nmis::Open;
            }
            self.queue.put(event);
        }
    }

    /// Ends the single step over an IRET. True if the exit was its end and
    /// nothing else.
    fn stepped(&mut self, meaning: &Meaning) -> bool {
        self.stepping = false;
        if matches!(self.nmis, Nmis::Leaving(at) if at == self.rip()) {
            // Not done yet: as if nobody had asked.
            self.change(0).save.rflags &= !rflags::TF;
            return false;
        }
        // The IRET has loaded the guest's own flags.
        let done = matches!(meaning, Meaning::Exit(Exit::Exception { vector: 1, .. }));
        if done {
            self.change(clean::DEBUG).save.dr6 &= !dr6::BS;
        }
        done
    }

    /// A window in a shadow: only a CPU that forgets the shadow at VMRUN opens
    /// one (QEMU's TCG 7.2). An interrupt here would come between
    /// STI and HLT, and the HLT would sleep through what the interrupt was to
    /// say. STI is one byte and did nothing but set IF: it is done again.
    fn undo_sti(&mut self) {
        let vmcb = self.change(0);
        vmcb.control.shadow &= !SHADOW;
        vmcb.save.rip = vmcb.save.rip.wrapping_sub(1);
        vmcb.save.rflags &= !rflags::IF;
    }

    /// The virtual interrupt of the coming run: a window (`exits`), an
    /// interrupt to be taken, or none.
    fn set_virtual(&mut self, bits: u64, exits: bool) {
        let old = self.vmcb().control.vintr & !vintr::TPR;
        if old == bits | vintr::MASKING {
            return;
        }
        let control = &mut self.change(clean::TPR | clean::INTERCEPTS).control;
        control.vintr = control.vintr & vintr::TPR | vintr::MASKING | bits;
        if exits {
            control.intercept_misc1 |= misc1::VINTR;
        } else {
            control.intercept_misc1 &= !misc1::VINTR;
        }
    }

    /// Runs it once. `prepare` has been called.
    pub(super) fn run(&mut self, here: CpuId) -> Exit {
        self.next_rip = None;
        barrier::before_entry();
        let fill = barrier::needed().returns.into();
        let regs = &raw mut self.regs;
        // SAFETY: this CPU has SVM on (`load` needed it), interrupts are off
        // as always in the core, the block is ours alone and was checked, and
        // the tables are those of this vCPU's domain.
        unsafe { entry::run(self.frame.address(), regs, cpu::host_state(here), fill) };
        let in_shadow = self.shadowed == Some(self.rip());
        if in_shadow {
            // Nothing was executed, so it is still there; QEMU's TCG loses it.
            self.change(0).control.shadow |= SHADOW;
        }
        self.settle();
        let features = cpu::features();
        let (rcx, rdx) = (self.regs[RCX], self.regs[RDX]);
        let (meaning, next) = decode(self.vmcb(), rcx, rdx, features.next_rip);
        self.next_rip = next;
        if features.clean {
            self.change(0).control.clean = clean::ALL;
        }
        if self.stepping && self.stepped(&meaning) {
            return Exit::Handled;
        }
        if self.passing != Passing::No && self.passed(&meaning) {
            return Exit::Handled;
        }
        match meaning {
            Meaning::Exit(exit) => {
                match exit {
                    Exit::Interrupt => machine::take_pending(),
                    // The machine's affair: ends in a report.
                    // SAFETY: vector 18 has a gate, on a stack of its own.
                    Exit::Exception { vector: 18, .. } => unsafe {
                        asm!("int 18", options(nostack));
                    },
                    Exit::Window if in_shadow => {
                        self.undo_sti();
                        return Exit::Handled;
                    }
                    // Only for an interrupt that waits in the queue.
                    Exit::Window if self.wish == 0 => return Exit::Handled,
                    Exit::Window => self.wish = 0,
                    _ => {}
                }
                exit
            }
            Meaning::Priority => {
                self.passing = Passing::Next;
                Exit::Handled
            }
            Meaning::Iret => {
                self.nmis = Nmis::Leaving(self.rip());
                self.change(clean::INTERCEPTS).control.intercept_misc1 &= !misc1::IRET;
                Exit::Handled
            }
            Meaning::Invalid => {
                self.change(clean::ALL);
                let why = check::check(self.vmcb(), &cpu::limits());
                Exit::Failed(
                    why.err().unwrap_or("VMRUN refused a block that passes every check"),
                    self.rip(),
                )
            }
        }
    }
}
