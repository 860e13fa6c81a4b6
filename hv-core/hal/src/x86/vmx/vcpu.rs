// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU on VT-x: its VMCS, and what is decided before and after each run.
// UNSAFETY: the world switch, and INT 2 for an NMI that ended a run.
#![allow(unsafe_code)]

use alloc::format;
use core::arch::asm;

use super::fields::{Fields, Vmcs};
use super::live::Live;
use super::{cpu, entry, host};
use crate::addr::{CpuId, Frame};
use crate::exit::gpr::{RAX, RCX, RDX, RSP};
use crate::exit::{Event, Exit, GENERAL_PROTECTION, Role};
use crate::stage2::{self, Format, Stage2, TableFrames};
use crate::vendor::context::long_mode_active;
use crate::vendor::queue::{Open, Queue};
use crate::vendor::regs::{cr0, cr4, dr6, dr7, efer, msr, rflags};
use crate::vendor::tags::Tag;
use crate::vendor::vmx::decode::{
    Control, Meaning, Raw, cut_short, decode, inject, nmi_still_blocked,
};
use crate::vendor::vmx::layout::{
    EPTP_FORM, PENDING_STEP, event, field, primary, reason, secondary, shadow,
};
use crate::vendor::vmx::{check, state};
use crate::x86::vcpu::{VendorVcpu, limits};
use crate::x86::xstate::Xstate;
use crate::x86::{cpu as machine, mem};
use hv_abi::vcpu::VcpuContext;

/// #DB, #AC, #MC. The first two always (a guest could make the CPU deliver
/// them without end: Xen's XSA-156), the last as it is the machine's.
const EXCEPTIONS: u64 = 1 << 1 | 1 << 17 | 1 << 18;
/// PAUSEs at most this many cycles apart are one loop, and a loop as long as
/// the window exits (SDM Vol. 3, 25.6.13).
const PLE_GAP: u64 = 128;
const PLE_WINDOW: u64 = 4096;
/// Offset of the TPR in the virtual-APIC page (30.1.1).
const TPR: usize = 0x80;

/// What the kernel crate asks to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Nothing,
    Window,
    /// The TPR has fallen below this class.
    Priority(u8),
}

/// See [`VendorVcpu`].
pub struct VmxVcpu {
    vmcs: Vmcs,
    /// The virtual-APIC page; the TPR lives there.
    apic: Frame,
    root: Frame,
    /// rsp is in the VMCS.
    regs: [u64; 16],
    live: Live,
    xstate: Xstate,
    queue: Queue,
    wish: Wish,
    next_rip: Option<u64>,
    tag: Option<Tag>,
    /// Where it ran last: elsewhere the TLB may hold old translations.
    last_cpu: Option<CpuId>,
    /// Translations have to be flushed before the next run.
    stale: bool,
    launched: bool,
    /// The VMCS was checked since it was filled.
    checked: bool,
    /// Primary controls and TPR threshold as the VMCS has them.
    primary: u32,
    threshold: u8,
}

impl VmxVcpu {
    fn read(&self, field: u32) -> u64 {
        self.vmcs.with(|f| f.read(field))
    }

    fn write(&self, field: u32, value: u64) {
        self.vmcs.with(|f| f.write(field, value));
    }

    fn eptp(&self) -> u64 {
        self.root.address() | EPTP_FORM
    }

    fn check(&self) -> Result<(), &'static str> {
        let cpu = check::Cpu { owned: &cpu::features().owned, limits: limits() };
        self.vmcs.with(|f| check::check(&cpu, &|field| f.read(field)))
    }

    /// Sets or clears a primary control.
    fn control(&mut self, fields: &mut Fields, bit: u32, on: bool) {
        let new = if on { self.primary | bit } else { self.primary & !bit };
        if new != self.primary {
            self.primary = new;
            fields.write(field::PRIMARY, new.into());
        }
    }

    /// What must be so before each run.
    fn prepare(&mut self, here: CpuId, f: &mut Fields) {
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
        if features.controls.tpr_shadow {
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

    /// The guest writes a bit of CR0 or CR4 that it does not own, or CR8.
    ///
    /// CR0 and CR4: if the value is one the guest may want, the shadow takes
    /// it, and the instruction runs again: now the bits it does not own are as
    /// it wants them, so the CPU does the rest, with all its checks.
    fn move_control(&mut self, f: &mut Fields, c: &Control) -> Exit {
        let value = if c.general == RSP { f.read(field::GUEST_RSP) } else { self.regs[c.general] };
        let refused = match c.register {
            0 => {
                let wrong = value & !cr0::ALL != 0 || value & (cr0::CD | cr0::NW) == cr0::NW;
                if !wrong {
                    f.write(field::CR0_SHADOW, value);
                }
                wrong
            }
            4 => {
                let wrong = value & !limits().cr4 != 0;
                if !wrong {
                    f.write(field::CR4_SHADOW, value);
                }
                wrong
            }
            8 if c.read => {
                let class = u64::from(self.tpr() >> 4);
                if c.general == RSP {
                    f.write(field::GUEST_RSP, class);
                } else {
                    self.regs[c.general] = class;
                }
                self.pass(f);
                false
            }
            8 if value >> 4 == 0 => {
                self.set_tpr((value << 4) as u8);
                self.pass(f);
                if let Wish::Priority(class) = self.wish
                    && value < u64::from(class)
                {
                    self.wish = Wish::Nothing;
                    return Exit::Window;
                }
                false
            }
            _ => true,
        };
        if refused {
            self.queue.put(GENERAL_PROTECTION);
        }
        Exit::Handled
    }

    fn pass(&mut self, f: &mut Fields) {
        if let Some(next) = self.next_rip.take() {
            step(f, next);
        }
    }

    fn set_efer(&mut self, value: u64) -> bool {
        let entry = cpu::features().controls.entry;
        self.vmcs.with(|f| {
            let (was, cr0) = (f.read(field::GUEST_EFER), f.read(field::GUEST_CR0));
            if long_mode_active(value, cr0) != long_mode_active(was, cr0) {
                return false;
            }
            let new = value & !efer::LMA | was & efer::LMA;
            f.write(field::GUEST_EFER, new);
            f.write(field::ENTRY, state::mode(new, entry).into());
            true
        })
    }

    /// With PAE paging outside long mode the page directory pointers are part
    /// of the state (27.3.1.6).
    fn load_pointers(&mut self, c: &VcpuContext) {
        let pae = c.cr0 & cr0::PG != 0 && c.cr4 & cr4::PAE != 0 && c.efer & efer::LMA == 0;
        if !pae {
            return;
        }
        let table = c.cr3 & !0x1f & 0xffff_ffff;
        let mut bytes = [0; 32];
        match stage2::lookup(Format::Ept, self.root, table) {
            Some(leaf) if leaf.frame < mem::limit() => {
                mem::read(leaf.frame, (table & 0xfff) as usize, &mut bytes);
            }
            // Not present: a page fault in the guest, which is its own affair.
            _ => {}
        }
        for (index, entry) in bytes.chunks_exact(8).enumerate() {
            let mut pointer = [0; 8];
            pointer.copy_from_slice(entry);
            self.write(field::GUEST_PDPTE + 2 * index as u32, u64::from_le_bytes(pointer));
        }
    }

    /// What an exit has left. Fields that its reason does not use are 0: each
    /// read takes its time.
    fn raw(&self, f: &Fields) -> Raw {
        let number = f.word(field::REASON);
        let basic = number & 0xffff;
        let (exception, memory) = (basic == reason::EXCEPTION, basic == reason::EPT_VIOLATION);
        let only = |wanted: bool, field: u32| if wanted { f.read(field) } else { 0 };
        Raw {
            reason: number,
            qualification: f.read(field::QUALIFICATION),
            guest_physical: only(
                memory || basic == reason::EPT_MISCONFIGURED,
                field::GUEST_PHYSICAL,
            ),
            event: only(exception, field::EXIT_EVENT) as u32,
            error: only(exception, field::EXIT_ERROR) as u32,
            length: f.word(field::EXIT_LENGTH),
            rip: f.read(field::GUEST_RIP),
            rax: self.regs[RAX],
            rcx: self.regs[RCX],
            rdx: self.regs[RDX],
        }
    }

    fn run(&mut self, f: &mut Fields) -> Exit {
        let regs = &raw mut self.regs;
        // SAFETY: this vCPU's VMCS is current (`with`), its host state is of
        // this CPU since `load`, interrupts are off as always in the core, and
        // EPT is that of this vCPU's domain.
        if unsafe { entry::run(regs, self.launched.into()) } != 0 {
            let (why, number) = f.error();
            f.write(field::ENTRY_EVENT, 0);
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
                let names = match reason {
                    33 => "VM entry: invalid guest state",
                    34 => "VM entry: MSR loading",
                    41 => "VM entry: machine check",
                    _ => "VM entry failed",
                };
                Exit::Failed(self.check().err().unwrap_or(names), raw.qualification)
            }
        }
    }

    fn finish(&mut self, f: &mut Fields, raw: &Raw, exit: Exit) -> Exit {
        match exit {
            Exit::Interrupt => machine::take_pending(),
            // The CPU has taken it off its pin and blocks the next until an
            // IRET (28.5.4): the core's own handler gets it.
            // SAFETY: vector 2 has a gate, on a stack of its own.
            Exit::Nmi => unsafe { asm!("int 2", options(nostack)) },
            Exit::Exception { vector: 1, .. } => self.debug_exception(f, raw.qualification),
            // Only for an interrupt that waits in the queue.
            Exit::Window if self.wish == Wish::Nothing => return Exit::Handled,
            Exit::Window => self.wish = Wish::Nothing,
            _ => {}
        }
        exit
    }
}

/// Goes behind an instruction, to `next`.
fn step(f: &mut Fields, next: u64) {
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
        };
        let mut second = controls.secondary;
        // The control domain owns the machine's caches; a guest's flush would
        // only hurt others.
        if role == Role::Control {
            second &= !secondary::WBINVD;
        }
        let maps = cpu::maps(role);
        let eptp = new.eptp();
        new.vmcs.with(|f| {
            f.write(field::PIN, controls.pin.into());
            f.write(field::PRIMARY, controls.primary.into());
            f.write(field::SECONDARY, second.into());
            f.write(field::EXIT, controls.exit.into());
            f.write(field::ENTRY, controls.entry.into());
            f.write(field::EXCEPTIONS, EXCEPTIONS);
            for zero in [
                field::FAULT_MASK,
                field::FAULT_MATCH,
                field::CR3_TARGETS,
                field::EXIT_STORE_COUNT,
                field::EXIT_LOAD_COUNT,
                field::ENTRY_LOAD_COUNT,
                field::ENTRY_EVENT,
                field::TSC_OFFSET,
            ] {
                f.write(zero, 0);
            }
            f.write(field::IO_BITMAP_A, maps.ports_a);
            f.write(field::IO_BITMAP_B, maps.ports_b);
            f.write(field::MSR_BITMAP, maps.msrs);
            f.write(field::EPTP, eptp);
            f.write(field::LINK, u64::MAX);
            if controls.tpr_shadow {
                f.write(field::VIRTUAL_APIC, apic.address());
                f.write(field::TPR_THRESHOLD, 0);
            }
            if controls.timer {
                // Not saved at an exit, so each run begins with it anew.
                f.write(field::TIMER, cpu::features().timer.into());
            }
            if second & secondary::PAUSE_LOOP != 0 {
                f.write(field::PLE_GAP, PLE_GAP);
                f.write(field::PLE_WINDOW, PLE_WINDOW);
            }
            if second & secondary::XSAVES != 0 {
                // XSS stays 0: no component of it can be asked for.
                f.write(field::XSS_EXITING, 0);
            }
            if second & secondary::ENCLS != 0 {
                f.write(field::ENCLS_EXITING, u64::MAX);
            }
        });
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
            self.vmcs.with(|f| step(f, next));
        }
    }

    fn load(&mut self) {
        self.vmcs.load();
        self.launched = false;
        self.vmcs.with(host::write);
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
        self.prepare(here, &mut f);
        if !self.checked {
            if let Err(why) = self.check() {
                return Exit::Failed(why, f.read(field::GUEST_RIP));
            }
            self.checked = true;
        }
        self.next_rip = None;
        self.run(&mut f)
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
        let mut tpr = [0];
        mem::read(self.apic, TPR, &mut tpr);
        tpr[0] & 0xf0
    }

    fn set_tpr(&mut self, tpr: u8) {
        mem::write(self.apic, TPR, &[tpr & 0xf0]);
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

    fn dump(&self, line: &mut dyn FnMut(&str)) {
        self.vmcs.with(|f| {
            let raw = self.raw(f);
            line(&format!(
                "vmx: reason {:#x} qualification {:#x} physical {:#x} event {:#x}/{:#x}",
                raw.reason, raw.qualification, raw.guest_physical, raw.event, raw.error
            ));
            line(&format!(
                "vmx: vectoring {:#x} interruptibility {:#x} entry {:#x} primary {:#x} eptp {:#x}",
                f.word(field::VECTORING_EVENT),
                f.word(field::INTERRUPTIBILITY),
                f.word(field::ENTRY),
                f.word(field::PRIMARY),
                f.read(field::EPTP)
            ));
        });
        if let Err(why) = self.check() {
            line(&format!("vmx: the VMCS breaks a rule: {why}"));
        }
    }
}
