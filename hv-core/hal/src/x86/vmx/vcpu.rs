// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU on VT-x: its VMCS and what goes with it, as [`VendorVcpu`] asks.
//! `run` has what is done at each run, `control` what control registers need.

use core::fmt::Arguments;
use core::sync::atomic::Ordering::Relaxed;

use super::fields::Vmcs;
use super::live::Live;
use super::{cpu, host, run, setup};
use crate::addr::{CpuId, Frame};
use crate::exit::gpr::RSP;
use crate::exit::{Event, Exit, Role};
use crate::mailbox::Mailbox;
use crate::stage2::{Stage2, TableFrames};
use crate::vendor::queue::Queue;
use crate::vendor::regs::{msr, rflags};
use crate::vendor::tags::Tag;
use crate::vendor::vmx::layout::{
    EPTP_FORM, entry_failure, field, instruction_error, register, shadow,
};
use crate::vendor::vmx::{check, state};
use crate::x86::vcpu::{VendorVcpu, limits};
use crate::x86::xstate::Xstate;
use crate::x86::{barrier, mem};
use hv_abi::vcpu::VcpuContext;

/// What the kernel crate asks to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Window,
    /// The TPR has fallen below this class.
    Priority(u8),
}

/// How an entry was refused.
#[derive(Clone, Copy)]
pub(super) enum Refused {
    /// The instruction failed, with this error number.
    Instruction(u64),
    /// It began and came back: basic reason, qualification.
    State(u32, u64),
}

/// See [`VendorVcpu`].
pub struct VmxVcpu {
    pub(super) vmcs: Vmcs,
    /// The virtual-APIC page.
    pub(super) apic: Frame,
    /// Vectors whose end the kernel crate is told of, as the VMCS has them.
    pub(super) ends: [u64; 4],
    pub(super) root: Frame,
    /// rsp is in the VMCS.
    pub(super) regs: [u64; 16],
    pub(super) live: Live,
    xstate: Xstate,
    pub(super) queue: Queue,
    pub(super) wish: Wish,
    pub(super) next_rip: Option<u64>,
    pub(super) tag: Option<Tag>,
    /// Where it ran last: elsewhere the TLB may hold old translations.
    pub(super) last_cpu: Option<CpuId>,
    /// Translations have to be flushed before the next run.
    pub(super) stale: bool,
    pub(super) launched: bool,
    /// The VMCS was checked since it was filled.
    pub(super) checked: bool,
    /// Primary controls and TPR threshold as the VMCS has them.
    pub(super) primary: u32,
    pub(super) threshold: u8,
    /// The last entry, if it was refused.
    pub(super) refused: Option<Refused>,
}

impl VmxVcpu {
    fn read(&self, field: u32) -> u64 {
        self.vmcs.with(|f| f.read(field))
    }

    pub(super) fn write(&self, field: u32, value: u64) {
        self.vmcs.with(|f| f.write(field, value));
    }

    pub(super) fn eptp(&self) -> u64 {
        self.root.address() | EPTP_FORM
    }

    /// The first of the rules for an entry that the VMCS breaks.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.judge(check::check)
    }

    /// Lets `look` at what an entry would see.
    fn judge<R>(&self, look: impl FnOnce(&check::Cpu<'_>, &check::Snapshot<'_>) -> R) -> R {
        let capabilities = &cpu::features().capabilities;
        let cpu = check::Cpu { capabilities, limits: limits() };
        let tpr = self.tpr();
        self.vmcs.with(|f| look(&cpu, &check::Snapshot { read: &|field| f.read(field), tpr }))
    }
}

impl VendorVcpu for VmxVcpu {
    fn new(role: Role, root: &Stage2, frames: &mut dyn TableFrames) -> Option<Self> {
        let block = frames.take()?;
        let Some(apic) = frames.take() else {
            frames.give(block);
            return None;
        };
        let Some(xstate) = Xstate::new(frames) else {
            frames.give(block);
            frames.give(apic);
            return None;
        };
        let controls = &cpu::features().controls;
        let new = Self {
            vmcs: Vmcs::new(block),
            apic,
            ends: [0; 4],
            root: root.root(),
            regs: [0; 16],
            live: Live::new(),
            xstate,
            queue: Queue::new(),
            wish: Wish::Nothing,
            next_rip: None,
            tag: None,
            last_cpu: None,
            stale: true,
            launched: false,
            checked: false,
            primary: controls.primary,
            threshold: 0,
            refused: None,
        };
        setup::fill(&new.vmcs, role, new.eptp(), apic);
        Some(new)
    }

    fn release(&mut self, frames: &mut dyn TableFrames) {
        self.vmcs.unload();
        self.xstate.release(frames);
        frames.give(self.apic);
        frames.give(self.vmcs.frame());
    }

    fn reg(&self, index: usize) -> u64 {
        if index == RSP { self.read(field::GUEST_RSP) } else { self.regs[index & 15] }
    }

    fn set_reg(&mut self, index: usize, value: u64) {
        if index == RSP {
            self.write(field::GUEST_RSP, value);
        } else {
            self.regs[index & 15] = value;
        }
    }

    fn rip(&self) -> u64 {
        self.read(field::GUEST_RIP)
    }

    fn set_rip(&mut self, rip: u64) {
        self.write(field::GUEST_RIP, rip);
    }

    fn rflags(&self) -> u64 {
        self.read(field::GUEST_RFLAGS)
    }

    fn cr4(&self) -> u64 {
        let mask = cpu::features().owned.cr4_mask();
        self.vmcs.with(|f| f.read(field::GUEST_CR4) & !mask | f.read(field::CR4_SHADOW) & mask)
    }

    fn cpl(&self) -> u8 {
        // DPL of SS (25.4.1); SS is the third.
        (self.read(field::GUEST_RIGHTS + 4) >> 5 & 3) as u8
    }

    fn skip(&mut self) {
        if let Some(next) = self.next_rip.take() {
            self.vmcs.with(|f| run::step(f, next));
        }
    }

    fn load(&mut self) {
        self.vmcs.load();
        self.launched = false;
        self.vmcs.with(host::write);
        barrier::arrive(self.root.address());
        self.live.load();
        self.xstate.load();
    }

    fn unload(&mut self) {
        self.xstate.unload();
        self.live.unload();
        self.vmcs.unload();
    }

    fn enter(&mut self) -> Exit {
        let (Some(here), Some(mut f)) = (self.vmcs.loaded(), self.vmcs.here()) else {
            return Exit::Failed("entered without being loaded", 0);
        };
        match self.prepare(here, &mut f) {
            Ok(()) => self.run(&mut f),
            Err(why) => Exit::Failed(why, f.read(field::GUEST_RIP)),
        }
    }

    fn interruptible(&self) -> bool {
        let blocked = shadow::STI | shadow::MOV_SS;
        !self.queue.busy()
            && self.vmcs.with(|f| {
                f.read(field::GUEST_RFLAGS) & rflags::IF != 0
                    && f.read(field::INTERRUPTIBILITY) & blocked == 0
            })
    }

    fn pending(&self) -> bool {
        self.queue.busy()
            || self.queue.nmi() && self.read(field::INTERRUPTIBILITY) & shadow::NMI == 0
    }

    fn inject(&mut self, event: Event) {
        self.queue.put(event);
    }

    fn want_window(&mut self, on: bool) {
        self.wish = if on { Wish::Window } else { Wish::Nothing };
    }

    fn want_priority(&mut self, class: u8) {
        self.wish = if class == 0 { Wish::Nothing } else { Wish::Priority(class) };
    }

    fn tpr(&self) -> u8 {
        self.apic_word(register::TPR).load(Relaxed) as u8 & 0xf0
    }

    fn set_tpr(&mut self, tpr: u8) {
        self.apic_word(register::TPR).store((tpr & 0xf0).into(), Relaxed);
    }

    fn show(&mut self, register: u32, value: u64) {
        self.show_register(register, value);
    }

    fn reset_apic(&mut self) {
        self.clear_apic();
    }

    fn request(&mut self, vectors: [u64; 4]) {
        self.request_vectors(vectors);
    }

    fn wakes(&self) -> bool {
        self.requested_above_priority()
    }

    fn watch_ends(&mut self, vectors: [u64; 4]) {
        self.watch_vectors(vectors);
    }

    fn receive(&mut self, mailbox: &Mailbox) {
        self.write(field::POSTED_DESCRIPTOR, mem::machine_address(mailbox));
    }

    fn context(&self) -> VcpuContext {
        let owned = &cpu::features().owned;
        let mut context = self.vmcs.with(|f| state::load(owned, &|field| f.read(field)));
        let rsp = context.gpr[RSP];
        context.gpr = self.regs;
        context.gpr[RSP] = rsp;
        context.cr2 = self.live.cr2();
        context.dr6 = self.live.dr6();
        context.syscall = self.live.syscall();
        context.kernel_gs_base = self.live.msr(msr::KERNEL_GS_BASE).unwrap_or(0);
        context.xcr0 = self.xstate.xcr0();
        context.tsc_aux = self.xstate.tsc_aux();
        context
    }

    fn put(&mut self, context: &VcpuContext) {
        self.regs = context.gpr;
        self.queue = Queue::new();
        self.wish = Wish::Nothing;
        self.next_rip = None;
        self.checked = false;
        let features = cpu::features();
        self.vmcs.with(|f| {
            state::store(context, &features.owned, features.controls.entry, &mut |field, value| {
                f.write(field, value);
            });
        });
        self.live.set_cr2(context.cr2);
        self.live.set_dr6(context.dr6);
        let [star, lstar, cstar, sfmask] = context.syscall;
        for (index, value) in [
            (msr::STAR, star),
            (msr::LSTAR, lstar),
            (msr::CSTAR, cstar),
            (msr::SFMASK, sfmask),
            (msr::KERNEL_GS_BASE, context.kernel_gs_base),
        ] {
            self.live.set_msr(index, value);
        }
        self.load_pointers(context);
        // The TLB may hold translations of another CR3 or PCID.
        self.tag = None;
    }

    fn msr(&self, index: u32) -> Option<u64> {
        match index {
            msr::DEBUGCTL => Some(0),
            msr::TSC_AUX => Some(self.xstate.tsc_aux()),
            _ => match state::register(index) {
                Some(field) => Some(self.read(field)),
                None => self.live.msr(index),
            },
        }
    }

    fn put_msr(&mut self, index: u32, value: u64) -> bool {
        match index {
            msr::EFER => return self.set_efer(value),
            msr::DEBUGCTL => {}
            msr::TSC_AUX => self.xstate.set_tsc_aux(value),
            _ => match state::register(index) {
                Some(field) => self.write(field, value),
                None => return self.live.set_msr(index, value),
            },
        }
        true
    }

    fn set_tsc_offset(&mut self, offset: i64) {
        self.write(field::TSC_OFFSET, offset as u64);
    }

    fn flush(&mut self) {
        self.stale = true;
    }

    fn xstate(&mut self) -> &mut Xstate {
        &mut self.xstate
    }

    fn dump(&self, line: &mut dyn FnMut(Arguments<'_>)) {
        self.vmcs.with(|f| {
            let raw = self.raw(f);
            line(format_args!(
                "vmx: reason {:#x} qualification {:#x} physical {:#x} event {:#x}/{:#x}",
                raw.reason, raw.qualification, raw.guest_physical, raw.event, raw.error
            ));
            line(format_args!(
                "vmx: vectoring {:#x} interruptibility {:#x} entry {:#x} primary {:#x} eptp {:#x}",
                f.word(field::VECTORING_EVENT),
                f.word(field::INTERRUPTIBILITY),
                f.word(field::ENTRY),
                f.word(field::PRIMARY),
                f.read(field::EPTP)
            ));
        });
        match self.refused {
            Some(Refused::Instruction(number)) => line(format_args!(
                "vmx: VM entry refused: instruction error {number} ({})",
                instruction_error(number)
            )),
            Some(Refused::State(reason, qualification)) => line(format_args!(
                "vmx: VM entry failed: reason {reason}, qualification {qualification:#x} ({})",
                entry_failure(reason, qualification)
            )),
            None => {}
        }
        self.judge(|cpu, snapshot| {
            check::each(cpu, snapshot, &mut |rule| {
                line(format_args!("vmx: the VMCS breaks a rule: {rule}"));
            });
        });
    }
}
