// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU on AMD-V: its control block and what goes with it, as [`VendorVcpu`]
//! asks. `run` has what is done at each run.
// UNSAFETY: its control block as a structure.
#![allow(unsafe_code)]

use core::fmt::Arguments;
use core::ptr::NonNull;

use super::priority::Passing;
use super::run::ANY;
use super::{cpu, entry, setup};
use crate::addr::{CpuId, Frame};
use crate::exit::gpr::{RAX, RSP};
use crate::exit::{Event, Exit, Role};
use crate::stage2::{Stage2, TableFrames};
use crate::vendor::context::long_mode_active;
use crate::vendor::queue::Queue;
use crate::vendor::regs::{dr6, efer, msr, rflags};
use crate::vendor::svm::layout::{SHADOW, Vmcb, clean, misc1, vintr};
use crate::vendor::svm::{check, state};
use crate::vendor::tags::Tag;
use crate::x86::vcpu::VendorVcpu;
use crate::x86::xstate::Xstate;
use crate::x86::{barrier, cpu as machine, mem};
use hv_abi::vcpu::VcpuContext;

/// Whether the guest takes NMIs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nmis {
    Open,
    /// From injection to IRET, which is intercepted.
    Blocked,
    /// It is at the IRET that ends its handler; open when RIP has moved.
    Leaving(u64),
}

/// See [`VendorVcpu`].
pub struct SvmVcpu {
    block: NonNull<Vmcb>,
    pub(super) frame: Frame,
    /// rax and rsp are in the block.
    pub(super) regs: [u64; 16],
    xstate: Xstate,
    pub(super) queue: Queue,
    pub(super) nmis: Nmis,
    /// TF is set to learn of the end of the IRET that opens NMIs.
    pub(super) stepping: bool,
    /// Where it was entered in the shadow of STI or MOV SS.
    pub(super) shadowed: Option<u64>,
    /// The window that the kernel crate asks for, as the block wants it.
    pub(super) wish: u64,
    /// The kernel crate asks for a fall of the priority.
    pub(super) wish_priority: bool,
    /// The interrupt that the run under way began with, as a virtual one.
    pub(super) offered: Option<u8>,
    /// The guest's next instruction changes its priority.
    pub(super) passing: Passing,
    /// Behind the instruction that exited.
    pub(super) next_rip: Option<u64>,
    pub(super) tag: Option<Tag>,
    loaded: Option<CpuId>,
    /// The block was checked since it was filled.
    pub(super) checked: bool,
}

// SAFETY: the block belongs to this vCPU alone and lies in memory that every
// CPU maps alike.
unsafe impl Send for SvmVcpu {}

impl SvmVcpu {
    pub(super) fn vmcb(&self) -> &Vmcb {
        // SAFETY: a page of the direct map that this vCPU took and owns; the
        // CPU writes it only in `entry::run`, which has `&mut self`.
        unsafe { self.block.as_ref() }
    }

    /// The block, to be changed; `clean` bits of what will be.
    pub(super) fn change(&mut self, bits: u32) -> &mut Vmcb {
        // SAFETY: as above.
        let vmcb = unsafe { self.block.as_mut() };
        vmcb.control.clean &= !bits;
        vmcb
    }

    /// EFER, by the kernel crate for the guest. LME can't change while paging
    /// is on (APM Vol. 2, 14.6).
    fn set_efer(&mut self, value: u64) -> bool {
        let save = &self.vmcb().save;
        let was = save.efer;
        if long_mode_active(value, save.cr0) != long_mode_active(was, save.cr0) {
            return false;
        }
        let new = value & !efer::LMA | was & efer::LMA | efer::SVME;
        self.change(clean::CONTROL).save.efer = new;
        true
    }
}

impl VendorVcpu for SvmVcpu {
    fn new(role: Role, root: &Stage2, frames: &mut dyn TableFrames) -> Option<Self> {
        let frame = frames.take()?;
        let xstate = match Xstate::new(frames) {
            Some(xstate) => xstate,
            None => {
                frames.give(frame);
                return None;
            }
        };
        let block = NonNull::new(mem::pointer(frame, 1).cast())?;
        let mut new = Self {
            block,
            frame,
            regs: [0; 16],
            xstate,
            queue: Queue::new(),
            nmis: Nmis::Open,
            stepping: false,
            shadowed: None,
            wish: 0,
            wish_priority: false,
            offered: None,
            passing: Passing::No,
            next_rip: None,
            tag: None,
            loaded: None,
            checked: false,
        };
        setup::fill(&mut new.change(clean::ALL).control, role, root.root());
        Some(new)
    }

    fn release(&mut self, frames: &mut dyn TableFrames) {
        self.xstate.release(frames);
        frames.give(self.frame);
    }

    fn reg(&self, index: usize) -> u64 {
        match index {
            RAX => self.vmcb().save.rax,
            RSP => self.vmcb().save.rsp,
            _ => self.regs[index & 15],
        }
    }

    fn set_reg(&mut self, index: usize, value: u64) {
        match index {
            RAX => self.change(0).save.rax = value,
            RSP => self.change(0).save.rsp = value,
            _ => self.regs[index & 15] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.vmcb().save.rip
    }

    fn set_rip(&mut self, rip: u64) {
        self.change(0).save.rip = rip;
    }

    fn rflags(&self) -> u64 {
        self.vmcb().save.rflags
    }

    fn cr4(&self) -> u64 {
        self.vmcb().save.cr4
    }

    fn cpl(&self) -> u8 {
        self.vmcb().save.cpl & 3
    }

    fn skip(&mut self) {
        let Some(next) = self.next_rip.take() else {
            return;
        };
        let vmcb = self.change(0);
        vmcb.control.shadow &= !SHADOW;
        // CS.L (bit 9) of 64-bit code; else RIP has 32 bits.
        let wide = vmcb.save.efer & efer::LMA != 0 && vmcb.save.cs.attrib & 1 << 9 != 0;
        vmcb.save.rip = if wide { next } else { next & 0xffff_ffff };
        // The instruction is done: a single step ends behind it.
        if vmcb.save.rflags & rflags::TF != 0 && !self.queue.busy() {
            self.change(clean::DEBUG).save.dr6 |= dr6::BS;
            self.queue.put(Event::Exception(1, None));
        }
    }

    fn load(&mut self) {
        let here = machine::current();
        // SAFETY: this CPU is enabled and the area its own.
        unsafe { entry::save_host(cpu::host_state(here)) };
        // Another vCPU may have run here: nothing of this block is cached.
        self.change(clean::ALL);
        barrier::arrive(self.vmcb().control.nested_cr3);
        self.loaded = Some(here);
        self.xstate.load();
    }

    fn unload(&mut self) {
        self.xstate.unload();
        self.loaded = None;
    }

    fn enter(&mut self) -> Exit {
        let Some(here) = self.loaded else {
            return Exit::Failed("entered without being loaded", 0);
        };
        match self.prepare(here) {
            Ok(()) => self.run(here),
            Err(why) => Exit::Failed(why, self.rip()),
        }
    }

    fn interruptible(&self) -> bool {
        let vmcb = self.vmcb();
        vmcb.save.rflags & rflags::IF != 0
            && vmcb.control.shadow & SHADOW == 0
            && !self.queue.busy()
    }

    fn pending(&self) -> bool {
        self.queue.busy() || self.queue.nmi() && self.nmis == Nmis::Open
    }

    fn inject(&mut self, event: Event) {
        self.queue.put(event);
    }

    fn want_window(&mut self, on: bool) {
        self.wish = if on { ANY } else { 0 };
        self.wish_priority = false;
    }

    fn want_priority(&mut self, class: u8) {
        self.wish = 0;
        self.wish_priority = class != 0;
    }

    fn tpr(&self) -> u8 {
        ((self.vmcb().control.vintr & vintr::TPR) << 4) as u8
    }

    fn set_tpr(&mut self, tpr: u8) {
        let control = &mut self.change(clean::TPR).control;
        control.vintr = control.vintr & !vintr::TPR | u64::from(tpr >> 4);
    }

    fn context(&self) -> VcpuContext {
        let mut context = state::load(&self.vmcb().save);
        for (index, reg) in context.gpr.iter_mut().enumerate() {
            *reg = self.reg(index);
        }
        context.xcr0 = self.xstate.xcr0();
        context.tsc_aux = self.xstate.tsc_aux();
        context
    }

    fn put(&mut self, context: &VcpuContext) {
        self.regs = context.gpr;
        self.queue = Queue::new();
        self.nmis = Nmis::Open;
        self.stepping = false;
        self.shadowed = None;
        self.wish = 0;
        self.wish_priority = false;
        self.passing = Passing::No;
        self.next_rip = None;
        self.checked = false;
        // The TLB may hold translations of another CR3 or PCID.
        self.tag = None;
        let vmcb = self.change(clean::ALL);
        vmcb.control.shadow = 0;
        vmcb.control.intercept_misc1 &= !misc1::IRET;
        state::store(context, &mut vmcb.save);
    }

    fn msr(&self, index: u32) -> Option<u64> {
        let save = &self.vmcb().save;
        match index {
            msr::EFER => Some(save.efer & !efer::SVME),
            msr::PAT => Some(save.g_pat),
            msr::DEBUGCTL => Some(0),
            msr::TSC_AUX => Some(self.xstate.tsc_aux()),
            _ => state::register(&mut save.clone(), index).copied(),
        }
    }

    fn put_msr(&mut self, index: u32, value: u64) -> bool {
        match index {
            msr::EFER => return self.set_efer(value),
            msr::PAT => self.change(clean::NESTED).save.g_pat = value,
            msr::DEBUGCTL => {}
            msr::TSC_AUX => self.xstate.set_tsc_aux(value),
            _ => match state::register(&mut self.change(clean::SEGMENTS).save, index) {
                Some(register) => *register = value,
                None => return false,
            },
        }
        true
    }

    fn set_tsc_offset(&mut self, offset: i64) {
        self.change(clean::INTERCEPTS).control.tsc_offset = offset as u64;
    }

    fn flush(&mut self) {
        // A fresh tag sees nothing of the old one's.
        self.tag = None;
    }

    fn xstate(&mut self) -> &mut Xstate {
        &mut self.xstate
    }

    fn dump(&self, line: &mut dyn FnMut(Arguments<'_>)) {
        let c = &self.vmcb().control;
        line(format_args!(
            "svm: exit {:#x} info {:#x} {:#x} int_info {:#x} vintr {:#x} shadow {:x}",
            c.exit_code, c.exit_info1, c.exit_info2, c.exit_int_info, c.vintr, c.shadow
        ));
        line(format_args!(
            "svm: asid {} clean {:#x} tsc offset {:#x} nested cr3 {:#x} nmi queued {}",
            c.asid,
            c.clean,
            c.tsc_offset,
            c.nested_cr3,
            self.queue.nmi()
        ));
        if let Err(why) = check::check(self.vmcb(), &cpu::limits()) {
            line(format_args!("svm: the block breaks a rule: {why}"));
        }
    }
}
