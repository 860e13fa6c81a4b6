// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual CPUs. [`HwVcpu`] is what the kernel crate has; behind it are the
//! twins `svm` and `vmx`, which meet at the trait [`VendorVcpu`] and at the
//! neutral [`Exit`].
//!
//! Contract: a vCPU is entered only between `load` and `unload`, on one CPU.
//! While it is loaded no other CPU may touch it; unloaded, whoever has it
//! `&mut` may, from any CPU. Physical interrupts are let in only by an entry
//! that returns [`Exit::Interrupt`].
//!
//! Length: the door is one list, each entry with what it promises.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Once;

use super::svm::{self, SvmVcpu};
use super::vmx::{self, VmxVcpu};
use super::{barrier, cpu, maps, xstate};
use crate::assist::Assist;
use crate::exit::{Choice, Event, Exit, GENERAL_PROTECTION, Role, Vendor};
use crate::mailbox::Mailbox;
use crate::stage2::{Format, Stage2, TableFrames};
use crate::vendor::context::{self, Limits};
use crate::vendor::regs::{cr4, efer, msr};
use hv_abi::vcpu::VcpuContext;

/// What a vendor's room does for [`HwVcpu`]; see there for the meaning.
pub(super) trait VendorVcpu: Sized {
    fn new(role: Role, root: &Stage2, frames: &mut dyn TableFrames) -> Option<Self>;
    fn release(&mut self, frames: &mut dyn TableFrames);
    fn reg(&self, index: usize) -> u64;
    fn set_reg(&mut self, index: usize, value: u64);
    fn rip(&self) -> u64;
    fn set_rip(&mut self, rip: u64);
    fn rflags(&self) -> u64;
    fn cr4(&self) -> u64;
    fn cpl(&self) -> u8;
    fn skip(&mut self);
    fn load(&mut self);
    fn unload(&mut self);
    fn enter(&mut self) -> Exit;
    fn interruptible(&self) -> bool;
    fn pending(&self) -> bool;
    fn inject(&mut self, event: Event);
    fn want_window(&mut self, on: bool);
    fn want_priority(&mut self, class: u8);
    fn tpr(&self) -> u8;
    fn set_tpr(&mut self, tpr: u8);
    // A vendor without such parts is never asked for them ([`assist`]).
    fn show(&mut self, _register: u32, _value: u64) {}
    fn reset_apic(&mut self) {}
    fn request(&mut self, _vectors: [u64; 4]) {}
    fn wakes(&self) -> bool {
        false
    }
    fn watch_ends(&mut self, _vectors: [u64; 4]) {}
    fn receive(&mut self, _mailbox: &Mailbox) {}
    fn context(&self) -> VcpuContext;
    /// The context has passed [`context::check`].
    fn put(&mut self, context: &VcpuContext);
    fn msr(&self, index: u32) -> Option<u64>;
    /// The value has passed [`valid_msr`].
    fn put_msr(&mut self, index: u32, value: u64) -> bool;
    fn set_tsc_offset(&mut self, offset: i64);
    fn flush(&mut self);
    fn xstate(&mut self) -> &mut xstate::Xstate;
    fn dump(&self, line: &mut dyn FnMut(fmt::Arguments<'_>));
}

static VENDOR: Once<Vendor> = Once::new();

/// Chooses how vCPUs run, on the boot CPU; or says why there is no way, and
/// the remedy. `want`: what the CPU shall do of virtual APICs, where it can.
pub fn probe(choice: Choice, want: Assist) -> Result<Vendor, &'static str> {
    let vendor = match choice {
        Choice::Svm => Vendor::Svm,
        Choice::Vmx => Vendor::Vmx,
        Choice::Auto if svm::present() => Vendor::Svm,
        Choice::Auto if vmx::present() => Vendor::Vmx,
        Choice::Auto => {
            return Err("the CPU has neither AMD-V nor VT-x: turn virtualization on in the \
                firmware setup; in a virtual machine, turn on nested virtualization");
        }
    };
    match vendor {
        Vendor::Svm => svm::probe()?,
        Vendor::Vmx => vmx::probe(want)?,
    }
    let vendor = *VENDOR.call_once(|| vendor);
    hide_console();
    Ok(vendor)
}

/// Turns the vendor's way on, on the running CPU; after [`probe`].
pub fn enable_cpu() -> Result<(), &'static str> {
    barrier::enable_cpu();
    match VENDOR.get() {
        Some(Vendor::Svm) => svm::enable_cpu(),
        Some(Vendor::Vmx) => vmx::enable_cpu(),
        None => Err("no vendor was chosen yet"),
    }
}

/// What the CPUs do of virtual APICs; after [`probe`].
pub fn assist() -> Assist {
    match VENDOR.get() {
        // V_TPR can't be switched off; AVIC is not used.
        Some(Vendor::Svm) => Assist { tpr: true, ..Assist::NONE },
        Some(Vendor::Vmx) => vmx::assist(),
        None => Assist::NONE,
    }
}

/// In which form this machine's stage 2 tables are; after [`probe`].
pub fn stage2_format() -> Format {
    match VENDOR.get() {
        Some(Vendor::Vmx) => Format::Ept,
        _ => Format::Npt,
    }
}

/// XCR0 bits that a vCPU may set; CPUID leaf 0xd must tell of no others.
pub fn xcr0_mask() -> u64 {
    xstate::allowed()
}

/// First port of the UART that is hidden; no port has this number.
static CONSOLE: AtomicU32 = AtomicU32::new(NO_PORT);
const NO_PORT: u32 = u32::MAX;

/// Hides the eight ports of the core's own UART from the control domain, or
/// none; before it runs.
pub fn set_console_ports(first: Option<u16>) {
    CONSOLE.store(first.map_or(NO_PORT, u32::from), Ordering::Relaxed);
    hide_console();
}

fn hide_console() {
    let first = u16::try_from(CONSOLE.load(Ordering::Relaxed)).ok();
    // Before `probe` there is no map; it comes back to it.
    maps::hide_uart(first);
}

/// What contexts may hold on this machine.
pub(super) fn limits() -> &'static Limits {
    static LIMITS: Once<Limits> = Once::new();
    LIMITS.call_once(|| {
        let [max, ..] = cpu::cpuid(0, 0);
        let [_, _, c1, d1] = cpu::cpuid(1, 0);
        let [_, b7, c7, _] = if max >= 7 { cpu::cpuid(7, 0) } else { [0; 4] };
        let [.., d81] = cpu::cpuid(0x8000_0001, 0);
        let has = |word: u32, bit: u32, value: u64| if word >> bit & 1 == 1 { value } else { 0 };
        // CPUID bits: SDM Vol. 2, CPUID; APM Vol. 3, E.3, E.4. CR4 bits that
        // are not here (LA57, CET, PKS …) belong to features nobody is told.
        let cr4 = has(d1, 1, cr4::VME | cr4::PVI)
            | has(d1, 2, cr4::DE)
            | has(d1, 3, cr4::PSE)
            | has(d1, 4, cr4::TSD)
            | has(d1, 6, cr4::PAE)
            | has(d1, 7, cr4::MCE)
            | has(d1, 13, cr4::PGE)
            | has(d1, 24, cr4::OSFXSR)
            | has(d1, 25, cr4::OSXMMEXCPT)
            | has(c1, 17, cr4::PCIDE)
            | has(c1, 26, cr4::OSXSAVE)
            | has(b7, 0, cr4::FSGSBASE)
            | has(b7, 7, cr4::SMEP)
            | has(b7, 20, cr4::SMAP)
            | has(c7, 2, cr4::UMIP)
            | has(c7, 3, cr4::PKE)
            | cr4::PCE;
        let efer = has(d81, 11, efer::SCE)
            | has(d81, 20, efer::NXE)
            | has(d81, 29, efer::LME)
            | has(d81, 25, efer::FFXSR);
        let physical_bits = cpu::features().physical_bits;
        Limits { physical_bits, efer, cr4, xcr0: xstate::allowed() }
    })
}

/// The value fits the register, as WRMSR would judge it.
fn valid_msr(index: u32, value: u64) -> bool {
    let address = || crate::vendor::regs::canonical(value, context::LINEAR_BITS);
    match index {
        msr::EFER => value & !(limits().efer | efer::LMA) == 0,
        msr::PAT => crate::vendor::regs::valid_pat(value),
        msr::DEBUGCTL => value == 0,
        msr::STAR => true,
        msr::SFMASK | msr::SYSENTER_CS | msr::TSC_AUX => value >> 32 == 0,
        msr::LSTAR | msr::CSTAR | msr::FS_BASE | msr::GS_BASE | msr::KERNEL_GS_BASE => address(),
        msr::SYSENTER_ESP | msr::SYSENTER_EIP => address(),
        _ => false,
    }
}

enum Inner {
    Svm(SvmVcpu),
    Vmx(VmxVcpu),
}

/// A vCPU of the machine.
pub struct HwVcpu(Inner);

macro_rules! vendor {
    ($self:ident, $vcpu:ident => $what:expr) => {
        match &$self.0 {
            Inner::Svm($vcpu) => $what,
            Inner::Vmx($vcpu) => $what,
        }
    };
    (mut $self:ident, $vcpu:ident => $what:expr) => {
        match &mut $self.0 {
            Inner::Svm($vcpu) => $what,
            Inner::Vmx($vcpu) => $what,
        }
    };
}

impl HwVcpu {
    /// A vCPU after INIT, on these stage 2 tables; None when frames run out.
    pub fn new(role: Role, root: &Stage2, frames: &mut dyn TableFrames) -> Option<Self> {
        let mut new = match VENDOR.get()? {
            Vendor::Svm => Self(Inner::Svm(SvmVcpu::new(role, root, frames)?)),
            Vendor::Vmx => Self(Inner::Vmx(VmxVcpu::new(role, root, frames)?)),
        };
        new.reset();
        Some(new)
    }

    /// Gives its frames back; it is not loaded and is not used again.
    pub fn release(&mut self, frames: &mut dyn TableFrames) {
        vendor!(mut self, v => v.release(frames));
    }

    /// A general register, by the number of its encoding.
    pub fn reg(&self, index: usize) -> u64 {
        vendor!(self, v => v.reg(index & 15))
    }

    /// Sets one.
    pub fn set_reg(&mut self, index: usize, value: u64) {
        vendor!(mut self, v => v.set_reg(index & 15, value));
    }

    /// Instruction pointer.
    pub fn rip(&self) -> u64 {
        vendor!(self, v => v.rip())
    }

    /// Sets it.
    pub fn set_rip(&mut self, rip: u64) {
        vendor!(mut self, v => v.set_rip(rip));
    }

    /// Flags.
    pub fn rflags(&self) -> u64 {
        vendor!(self, v => v.rflags())
    }

    /// CR4 as the guest sees it.
    pub fn cr4(&self) -> u64 {
        vendor!(self, v => v.cr4())
    }

    /// Privilege level.
    pub fn cpl(&self) -> u8 {
        vendor!(self, v => v.cpl())
    }

    /// Goes past the instruction that exited; ends an interrupt shadow. Behind
    /// the last byte of the lower half there is no address: a CPU raises #GP
    /// there, and one entry with such a RIP would be refused.
    pub fn skip(&mut self) {
        vendor!(mut self, v => v.skip());
        let rip = self.rip();
        if let Some(near) = crate::vendor::regs::made_canonical(rip, context::LINEAR_BITS) {
            self.set_rip(near);
            self.inject(GENERAL_PROTECTION);
        }
    }

    /// This CPU begins to run it.
    pub fn load(&mut self) {
        vendor!(mut self, v => v.load());
    }

    /// This CPU stops running it.
    pub fn unload(&mut self) {
        vendor!(mut self, v => v.unload());
    }

    /// Runs the guest until something has to be done for it.
    pub fn enter(&mut self) -> Exit {
        vendor!(mut self, v => v.enter())
    }

    /// It would take an interrupt: IF is set, there is no shadow, nothing
    /// else is on its way in.
    pub fn interruptible(&self) -> bool {
        vendor!(self, v => v.interruptible())
    }

    /// An event is on its way in, and comes with the next entry.
    pub fn pending(&self) -> bool {
        vendor!(self, v => v.pending())
    }

    /// Puts an event in. An interrupt only if [`interruptible`](Self::interruptible).
    pub fn inject(&mut self, event: Event) {
        vendor!(mut self, v => v.inject(event));
    }

    /// Asks for one [`Exit::Window`] as soon as it would take an interrupt,
    /// or takes that back.
    pub fn want_window(&mut self, on: bool) {
        vendor!(mut self, v => v.want_window(on));
    }

    /// Asks to come back as soon as the guest's TPR has fallen below this
    /// priority class (a vector's bits 7:4); 0 takes that back. It replaces
    /// [`want_window`](Self::want_window), and is replaced by it.
    pub fn want_priority(&mut self, class: u8) {
        vendor!(mut self, v => v.want_priority(class & 0xf));
    }

    /// Task priority, as in the local APIC's register: class in bits 7:4.
    pub fn tpr(&self) -> u8 {
        vendor!(self, v => v.tpr())
    }

    /// Sets the class.
    pub fn set_tpr(&mut self, tpr: u8) {
        vendor!(mut self, v => v.set_tpr(tpr));
    }

    /// With [`Assist::registers`]: what the guest reads from the register of
    /// this x2APIC number from now on. Not for those that the CPU keeps itself.
    pub fn show(&mut self, register: u32, value: u64) {
        vendor!(mut self, v => v.show(register, value));
    }

    /// With [`Assist::delivery`]: makes these vectors pending. The CPU puts
    /// them in by their priority, so [`inject`](Self::inject) gets no interrupt.
    pub fn request(&mut self, vectors: [u64; 4]) {
        vendor!(mut self, v => v.request(vectors));
    }

    /// With [`Assist::delivery`]: a pending vector has a priority that the
    /// guest would take.
    pub fn wakes(&self) -> bool {
        vendor!(self, v => v.wakes())
    }

    /// With [`Assist::delivery`]: acknowledging one of these vectors gives an
    /// [`Exit::EndOfInterrupt`].
    pub fn watch_ends(&mut self, vectors: [u64; 4]) {
        vendor!(mut self, v => v.watch_ends(vectors));
    }

    /// With [`Assist::posting`]: while it runs, the CPU takes what is in this
    /// mailbox when it is poked ([`cpu::poke`]). The mailbox lives as long as
    /// the vCPU runs.
    pub fn receive(&mut self, mailbox: &Mailbox) {
        vendor!(mut self, v => v.receive(mailbox));
    }

    /// All registers. `online` is 1: only the kernel crate knows better.
    pub fn context(&self) -> VcpuContext {
        VcpuContext { online: 1, ..vendor!(self, v => v.context()) }
    }

    /// Sets them all, or none and names the field that no CPU would have so.
    pub fn set_context(&mut self, context: &VcpuContext) -> Result<(), &'static str> {
        context::check(context, limits())?;
        self.put(context);
        Ok(())
    }

    fn put(&mut self, context: &VcpuContext) {
        vendor!(mut self, v => {
            v.put(context);
            v.xstate().set_xcr0(if context.xcr0 == 0 { 1 } else { context.xcr0 });
            v.xstate().set_tsc_aux(context.tsc_aux);
        });
    }

    /// State after INIT. More is reset than on a CPU, where some registers
    /// survive INIT: whoever starts it sets them all anyway.
    pub fn reset(&mut self) {
        vendor!(mut self, v => v.xstate().reset());
        self.put(&context::after_init(signature()));
        vendor!(mut self, v => v.reset_apic());
        self.set_tpr(0);
        self.flush();
    }

    /// Starts in real mode at the start-up IPI's page.
    pub fn start_at(&mut self, vector: u8) {
        self.put(&context::after_sipi(signature(), vector));
    }

    /// A model-specific register, of those that are kept here.
    pub fn msr(&self, index: u32) -> Option<u64> {
        vendor!(self, v => v.msr(index))
    }

    /// Sets one; false: no such register here, or not that value.
    pub fn set_msr(&mut self, index: u32, value: u64) -> bool {
        valid_msr(index, value) && vendor!(mut self, v => v.put_msr(index, value))
    }

    /// What is added to the TSC when the guest reads it.
    pub fn set_tsc_offset(&mut self, offset: i64) {
        vendor!(mut self, v => v.set_tsc_offset(offset));
    }

    /// The next entry, on whatever CPU, finds no stale translation.
    pub fn flush(&mut self) {
        vendor!(mut self, v => v.flush());
    }

    /// XCR0.
    pub fn xcr0(&mut self) -> u64 {
        vendor!(mut self, v => v.xstate().xcr0())
    }

    /// XSETBV of XCR0; false for a value that the CPU would refuse.
    pub fn set_xcr0(&mut self, value: u64) -> bool {
        vendor!(mut self, v => v.xstate().set_xcr0(value))
    }

    /// Tells its state in a few lines.
    pub fn dump(&self, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        let c = self.context();
        super::vcpu_dump::registers(&c, line);
        vendor!(self, v => v.dump(line));
    }
}

fn signature() -> u32 {
    cpu::cpuid(1, 0)[0]
}

impl fmt::Debug for HwVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HwVcpu({:?}, rip {:#x})", VENDOR.get(), self.rip())
    }
}
