// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs that play back a script of exits and keep what is put into them; or
//! that run a [`Program`], which makes an exit whenever it is entered.

use crate::assist::Assist;
use crate::exit::{Choice, Event, Exit, Role, Vendor};
use crate::mailbox::Mailbox;
use crate::stage2::{Format, Stage2, TableFrames};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use hv_abi::vcpu::VcpuContext;

/// Always finds AMD-V.
pub fn probe(choice: Choice, _want: Assist) -> Result<Vendor, &'static str> {
    match choice {
        Choice::Vmx => Err("the scripted machine has no VT-x"),
        _ => Ok(Vendor::Svm),
    }
}

/// Nothing to do.
pub fn enable_cpu() -> Result<(), &'static str> {
    Ok(())
}

/// As the test set it.
pub fn assist() -> Assist {
    super::machine::with(|m| m.assist)
}

/// XCR0 bits that a vCPU may set: x87 and SSE.
pub fn xcr0_mask() -> u64 {
    3
}

/// Format of the stage 2 tables.
pub fn stage2_format() -> Format {
    Format::Npt
}

/// Nothing is hidden.
pub fn set_console_ports(_first: Option<u16>) {}

/// What a vCPU does while it is inside: it has its registers, and says how
/// it came out.
pub struct Program(pub Box<dyn FnMut(&mut VcpuContext) -> Exit + Send>);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// Events and registers that a vCPU with a program keeps.
const KEPT: usize = 16;

/// A scripted vCPU.
#[derive(Debug, Default)]
pub struct HwVcpu {
    /// Exits to come.
    pub script: VecDeque<Exit>,
    /// What it does when the script is at its end; nothing halts.
    pub program: Option<Program>,
    /// What was put in, oldest first.
    pub injected: Vec<Event>,
    /// Its registers.
    pub state: VcpuContext,
    /// It accepts interrupts.
    pub open: bool,
    /// A window was asked for.
    pub window: bool,
    /// A fall of the priority below this class was asked for.
    pub priority: u8,
    /// Vectors made pending, for the CPU to deliver.
    pub requested: [u64; 4],
    /// Vectors whose end is to be told.
    pub ends: [u64; 4],
    /// What the guest reads from APIC registers.
    pub shown: Vec<(u32, u64)>,
    /// Task priority.
    pub tpr: u8,
    /// Flushes asked for.
    pub flushes: u64,
    /// It is loaded.
    pub loaded: bool,
    /// Instructions skipped.
    pub skipped: u64,
    /// SIPI vector it was started at.
    pub started: Option<u8>,
    /// Model-specific registers set.
    pub msrs: Vec<(u32, u64)>,
    in_flight: bool,
}

impl HwVcpu {
    /// A vCPU with interrupts on and nothing to play.
    pub fn new(_role: Role, _root: &Stage2, _frames: &mut dyn TableFrames) -> Option<Self> {
        let mut made = Self { open: true, ..Self::default() };
        made.state.rflags = 0x202;
        Some(made)
    }

    /// Nothing to give back.
    pub fn release(&mut self, _frames: &mut dyn TableFrames) {}

    /// A general register.
    pub fn reg(&self, index: usize) -> u64 {
        self.state.gpr[index & 15]
    }

    /// Sets one.
    pub fn set_reg(&mut self, index: usize, value: u64) {
        self.state.gpr[index & 15] = value;
    }

    /// Instruction pointer.
    pub fn rip(&self) -> u64 {
        self.state.rip
    }

    /// Flags.
    pub fn rflags(&self) -> u64 {
        self.state.rflags
    }

    /// CR4.
    pub fn cr4(&self) -> u64 {
        self.state.cr4
    }

    /// Privilege level, from the rights of SS.
    pub fn cpl(&self) -> u8 {
        (self.state.segments[hv_abi::vcpu::segment::SS].rights >> 5 & 3) as u8
    }

    /// Counts it.
    pub fn skip(&mut self) {
        self.skipped += 1;
        self.state.rip = self.state.rip.wrapping_add(3);
    }

    /// Notes it.
    pub fn load(&mut self) {
        self.loaded = true;
    }

    /// Notes it.
    pub fn unload(&mut self) {
        self.loaded = false;
    }

    /// Plays the next exit, or runs the program. Some time passes.
    pub fn enter(&mut self) -> Exit {
        self.in_flight = false;
        super::machine::with(|m| m.now += m.enter_ticks);
        if let Some(exit) = self.script.pop_front() {
            return exit;
        }
        let Some(program) = &mut self.program else {
            return Exit::Halt;
        };
        // It may run for a long time.
        let old = self.injected.len().saturating_sub(KEPT);
        self.injected.drain(..old);
        let old = self.msrs.len().saturating_sub(KEPT);
        self.msrs.drain(..old);
        (program.0)(&mut self.state)
    }

    /// As the test set it.
    pub fn interruptible(&self) -> bool {
        self.open && !self.in_flight
    }

    /// Something is queued.
    pub fn pending(&self) -> bool {
        self.in_flight
    }

    /// Keeps the event.
    pub fn inject(&mut self, event: Event) {
        self.injected.push(event);
        self.in_flight = true;
    }

    /// Keeps the wish.
    pub fn want_window(&mut self, on: bool) {
        (self.window, self.priority) = (on, 0);
    }

    /// Keeps the wish.
    pub fn want_priority(&mut self, class: u8) {
        (self.window, self.priority) = (false, class);
    }

    /// Keeps it.
    pub fn show(&mut self, register: u32, value: u64) {
        self.shown.push((register, value));
    }

    /// Adds them to the pending ones.
    pub fn request(&mut self, vectors: [u64; 4]) {
        self.requested.iter_mut().zip(vectors).for_each(|(all, new)| *all |= new);
    }

    /// Something is pending, whatever its priority.
    pub fn wakes(&self) -> bool {
        self.requested != [0; 4]
    }

    /// Keeps them.
    pub fn watch_ends(&mut self, vectors: [u64; 4]) {
        self.ends = vectors;
    }

    /// Nothing looks into it by itself.
    pub fn receive(&mut self, _mailbox: &Mailbox) {}

    /// Task priority.
    pub fn tpr(&self) -> u8 {
        self.tpr
    }

    /// Sets it.
    pub fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
    }

    /// All registers.
    pub fn context(&self) -> VcpuContext {
        self.state
    }

    /// Sets them; refuses a flags register without bit 1.
    pub fn set_context(&mut self, context: &VcpuContext) -> Result<(), &'static str> {
        if context.rflags & 2 == 0 {
            return Err("rflags");
        }
        self.state = *context;
        Ok(())
    }

    /// State after INIT.
    pub fn reset(&mut self) {
        self.state = VcpuContext::default();
    }

    /// Notes where it starts.
    pub fn start_at(&mut self, vector: u8) {
        self.started = Some(vector);
    }

    /// What was set before.
    pub fn msr(&self, index: u32) -> Option<u64> {
        self.msrs.iter().rfind(|m| m.0 == index).map(|m| m.1)
    }

    /// Keeps EFER and PAT.
    pub fn set_msr(&mut self, index: u32, value: u64) -> bool {
        let known = matches!(index, 0xc000_0080 | 0x277);
        if known {
            self.msrs.push((index, value));
        }
        known
    }

    /// Not modelled.
    pub fn set_tsc_offset(&mut self, _offset: i64) {}

    /// Counts it.
    pub fn flush(&mut self) {
        self.flushes += 1;
    }

    /// XCR0; x87 only if it was never set.
    pub fn xcr0(&mut self) -> u64 {
        self.state.xcr0.max(1)
    }

    /// Allows x87 and SSE.
    pub fn set_xcr0(&mut self, value: u64) -> bool {
        value & 1 == 1 && value & !3 == 0
    }

    /// One line.
    pub fn dump(&self, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        line(format_args!("scripted vCPU"));
    }
}
