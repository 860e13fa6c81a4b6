// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU on AMD-V: its control block, and what is decided before and after
//! each run.
// UNSAFETY: its control block as a structure, and the world switch.
#![allow(unsafe_code)]

use alloc::format;
use core::ptr::NonNull;

use super::{cpu, entry};
use crate::addr::{CpuId, Frame};
use crate::exit::gpr::{RAX, RCX, RDX, RSP};
use crate::exit::{Event, Exit, Role};
use crate::stage2::{Stage2, TableFrames};
use crate::vendor::context::long_mode_active;
use crate::vendor::queue::{Open, Queue};
use crate::vendor::regs::{cr0, dr6, efer, msr, rflags};
use crate::vendor::svm::decode::{Meaning, cut_short, decode, inject};
use crate::vendor::svm::layout::{
    FLUSH_ALL, NESTED_ENABLE, SHADOW, Vmcb, clean, misc1, misc2, vintr,
};
use crate::vendor::svm::{check, state};
use crate::vendor::tags::Tag;
use crate::x86::vcpu::VendorVcpu;
use crate::x86::xstate::Xstate;
use crate::x86::{cpu as machine, mem};
use hv_abi::vcpu::VcpuContext;

/// #DB, #AC, #MC. The first two always (a guest could make the CPU deliver
/// them without end: Xen's XSA-156), the last as it is the machine's.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;
/// Intercepts of every vCPU (APM Vol. 2, 15.9, 15.13).
const MISC1: u32 = misc1::INTR
    | misc1::NMI
    | misc1::INIT
    | misc1::RDPMC
    | misc1::CPUID
    | misc1::RSM
    | misc1::INVD
    | misc1::HLT
    | misc1::INVLPGA
    | misc1::IOIO
    | misc1::MSR
    | misc1::SHUTDOWN;
const MISC2: u32 = misc2::VMRUN
    | misc2::VMMCALL
    | misc2::VMLOAD
    | misc2::VMSAVE
    | misc2::STGI
    | misc2::CLGI
    | misc2::SKINIT
    | misc2::MONITOR
    | misc2::MWAIT
    | misc2::MWAIT_ARMED
    | misc2::XSETBV
    | misc2::RDPRU;
/// PAUSEs in a row, each within the threshold's cycles of the last, that make
/// an exit (15.14.4); plain spinning of a short lock stays below.
const PAUSE_COUNT: u16 = 3000;
const PAUSE_THRESHOLD: u16 = 128;

/// A virtual interrupt that only waits for IF. V_IGN_TPR: the kernel crate has
/// looked at the TPR (15.21.4).
const ANY: u64 = vintr::IRQ | vintr::IGNORE_TPR | vintr::PRIORITY;

/// Whether the guest takes NMIs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nmis {
    Open,
    /// From injection to IRET, which is intercepted.
    Blocked,
    /// It is at the IRET that ends its handler; open when RIP has moved.
    Leaving(u64),
}

/// See [`VendorVcpu`].
pub struct SvmVcpu {
    block: NonNull<Vmcb>,
    frame: Frame,
    /// rax and rsp are in the block.
    regs: [u64; 16],
    xstate: Xstate,
    queue: Queue,
    nmis: Nmis,
    /// The window that the kernel crate asks for, as the block wants it.
    wish: u64,
    /// Behind the instruction that exited.
    next_rip: Option<u64>,
    tag: Option<Tag>,
    loaded: Option<CpuId>,
    /// The block was checked since it was filled.
    checked: bool,
}

// SAFETY: the block belongs to this vCPU alone and lies in memory that every
// CPU maps alike.
unsafe impl Send for SvmVcpu {}

impl SvmVcpu {
    fn vmcb(&self) -> &Vmcb {
        // SAFETY: a page of the direct map that this vCPU took and owns; the
        // CPU writes it only in `entry::run`, which has `&mut self`.
        unsafe { self.block.as_ref() }
    }

    /// The block, to be changed; `clean` bits of what will be.
    fn change(&mut self, bits: u32) -> &mut Vmcb {
        // SAFETY: as above.
        let vmcb = unsafe { self.block.as_mut() };
        vmcb.control.clean &= !bits;
        vmcb
    }

    /// What must be so before each run. An error is the core's own.
    fn prepare(&mut self, here: CpuId) -> Result<(), &'static str> {
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
        self.set_window(if self.queue.interrupt() { ANY } else { self.wish });
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
        if let Some(event) = cut_short(control.exit_int_info) {
            if event == Event::Nmi {
                self.nmis = Nmis::Open;
            }
            self.queue.put(event);
        }
    }

    fn set_window(&mut self, bits: u64) {
        let on = bits != 0;
        let old = self.vmcb().control.vintr & !vintr::TPR;
        if old == bits | vintr::MASKING {
            return;
        }
        let control = &mut self.change(clean::TPR | clean::INTERCEPTS).control;
        control.vintr = control.vintr & vintr::TPR | vintr::MASKING | bits;
        if on {
            control.intercept_misc1 |= misc1::VINTR;
        } else {
            control.intercept_misc1 &= !misc1::VINTR;
        }
    }

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
            wish: 0,
            next_rip: None,
            tag: None,
            loaded: None,
            checked: false,
        };
        let features = cpu::features();
        let (ports, msrs) = cpu::maps(role);
        let control = &mut new.change(clean::ALL).control;
        control.intercept_exceptions = EXCEPTIONS;
        control.intercept_misc1 = MISC1;
        control.intercept_misc2 = MISC2;
        // The control domain owns the machine's caches, but may not throw
        // away what others wrote (INVD); a guest's flush would only hurt
        // others (15.13).
        if role == Role::Guest {
            control.intercept_misc2 |= misc2::WBINVD;
        }
        if features.pause_count {
            control.intercept_misc1 |= misc1::PAUSE;
            control.pause_count = PAUSE_COUNT;
            control.pause_threshold = if features.pause_threshold { PAUSE_THRESHOLD } else { 0 };
        }
        control.iopm = ports;
        control.msrpm = msrs;
        control.vintr = vintr::MASKING;
        control.nested = NESTED_ENABLE;
        control.nested_cr3 = root.root().address();
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
        if let Err(why) = self.prepare(here) {
            return Exit::Failed(why, self.rip());
        }
        self.next_rip = None;
        let regs = &raw mut self.regs;
        // SAFETY: this CPU has SVM on (`load` needed it), interrupts are off
        // as always in the core, the block is ours alone and was checked, and
        // the tables are those of this vCPU's domain.
        unsafe { entry::run(self.frame.address(), regs, cpu::host_state(here)) };
        self.settle();
        let features = cpu::features();
        let (rcx, rdx) = (self.regs[RCX], self.regs[RDX]);
        let (meaning, next) = decode(self.vmcb(), rcx, rdx, features.next_rip);
        self.next_rip = next;
        if features.clean {
            self.change(0).control.clean = clean::ALL;
        }
        match meaning {
            Meaning::Exit(exit) => {
                match exit {
                    Exit::Interrupt => machine::take_pending(),
                    // Only for an interrupt that waits in the queue.
                    Exit::Window if self.wish == 0 => return Exit::Handled,
                    Exit::Window => self.wish = 0,
                    _ => {}
                }
                exit
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
    }

    fn want_priority(&mut self, class: u8) {
        // The CPU compares V_INTR_PRIO with V_TPR (15.21.4).
        let priority = u64::from(class) << vintr::PRIORITY_SHIFT;
        self.wish = if class != 0 { vintr::IRQ | priority } else { 0 };
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
        self.wish = 0;
        self.next_rip = None;
        self.checked = false;
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

    fn dump(&self, line: &mut dyn FnMut(&str)) {
        let c = &self.vmcb().control;
        line(&format!(
            "svm: exit {:#x} info {:#x} {:#x} int_info {:#x} vintr {:#x} shadow {:x}",
            c.exit_code, c.exit_info1, c.exit_info2, c.exit_int_info, c.vintr, c.shadow
        ));
        line(&format!(
            "svm: asid {} clean {:#x} tsc offset {:#x} nested cr3 {:#x} nmi queued {}",
            c.asid,
            c.clean,
            c.tsc_offset,
            c.nested_cr3,
            self.queue.nmi()
        ));
        if let Err(why) = check::check(self.vmcb(), &cpu::limits()) {
            line(&format!("svm: the block breaks a rule: {why}"));
        }
    }
}
