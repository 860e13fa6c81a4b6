// SPDX-License-Identifier: MIT OR Apache-2.0
//! From an exit reason to an [`Exit`], and to the address of the next
//! instruction (SDM Vol. 3, chapter 28, appendix C).

use super::layout::{event, reason};
use crate::exit::{Event, Exit, MemoryAccess, PortAccess};

/// What the VMCS and the registers hold after an exit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw {
    pub reason: u32,
    pub qualification: u64,
    pub guest_physical: u64,
    /// VM-exit interruption information and error code.
    pub event: u32,
    pub error: u32,
    pub length: u32,
    pub rip: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
}

/// What an exit means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The kernel crate decides.
    Exit(Exit),
    /// The guest writes a control register (or reads CR8).
    Control(Control),
    /// The guest could take an NMI now.
    NmiWindow,
    /// The CPU refused to enter; the basic reason.
    EntryFailed(u32),
}

/// A move to or from a control register (table 28-3).
#[derive(Debug, PartialEq, Eq)]
pub struct Control {
    pub register: u8,
    /// A move from it.
    pub read: bool,
    /// The other side's general register.
    pub general: usize,
}

/// What it means, and where the next instruction is, if the exit was for one.
pub fn decode(raw: &Raw) -> (Meaning, Option<u64>) {
    if raw.reason & reason::ENTRY_FAILED != 0 {
        return (Meaning::EntryFailed(raw.reason & 0xffff), None);
    }
    let value = raw.rdx << 32 | raw.rax & 0xffff_ffff;
    let msr = raw.rcx as u32;
    // The second part: it is an instruction whose length was stored (28.2.5).
    let (exit, instruction) = match raw.reason & 0xffff {
        // INT1 is left as if it were a fault's instruction, and is to be passed
        // like an instruction; no other exception is a privileged one.
        reason::EXCEPTION => (exception(raw), raw.event & event::TYPE == event::PRIVILEGED),
        // The timer is there for interrupts that the CPU has not told of.
        reason::EXTERNAL_INTERRUPT | reason::TIMER => (Exit::Interrupt, false),
        reason::TRIPLE_FAULT => (Exit::Shutdown, false),
        reason::INIT | reason::SIPI => (Exit::Handled, false),
        reason::INTERRUPT_WINDOW | reason::TPR => (Exit::Window, false),
        reason::END_OF_INTERRUPT => (Exit::EndOfInterrupt(raw.qualification as u8), false),
        // A self-IPI of a vector below 16: the CPU has written it, and it is
        // no interrupt.
        reason::APIC_WRITE => (Exit::Handled, false),
        reason::NMI_WINDOW => return (Meaning::NmiWindow, None),
        reason::CPUID => (Exit::Cpuid, true),
        reason::HLT => (Exit::Halt, true),
        reason::VMCALL => (Exit::Hypercall, true),
        reason::RDMSR => (Exit::ReadMsr(msr), true),
        reason::WRMSR => (Exit::WriteMsr(msr, value), true),
        reason::XSETBV => (Exit::Xsetbv(msr, value), true),
        reason::IO => (Exit::Port(port(raw.qualification)), true),
        reason::PAUSE => (Exit::Pause, true),
        reason::INVD | reason::WBINVD => (Exit::CacheFlush, true),
        reason::EPT_VIOLATION => (Exit::Memory(memory(raw)), false),
        reason::EPT_MISCONFIGURED => {
            (Exit::Failed("an EPT entry is malformed", raw.guest_physical), false)
        }
        reason::CONTROL_REGISTER => return control(raw),
        // A task switch can't be done for the guest (28.4.2); only 32-bit
        // kernels with hardware tasks would want it.
        reason::TASK_SWITCH => (Exit::Refused("task switch"), false),
        reason::RDPMC => (Exit::Refused("RDPMC"), true),
        reason::RSM => (Exit::Refused("RSM"), true),
        reason::GETSEC => (Exit::Refused("GETSEC"), true),
        reason::MWAIT => (Exit::Refused("MWAIT"), true),
        reason::MONITOR => (Exit::Refused("MONITOR"), true),
        reason::ENCLS => (Exit::Refused("ENCLS"), true),
        reason::VMCLEAR..=reason::VMXON | reason::INVEPT | reason::INVVPID => {
            (Exit::Refused("VMX instruction"), true)
        }
        other => (Exit::Unknown(other.into()), false),
    };
    (Meaning::Exit(exit), instruction.then(|| next(raw)))
}

fn next(raw: &Raw) -> u64 {
    raw.rip.wrapping_add(raw.length.into())
}

fn exception(raw: &Raw) -> Exit {
    if raw.event & event::TYPE == event::NMI {
        return Exit::Nmi;
    }
    let error = (raw.event & event::ERROR != 0).then_some(raw.error);
    Exit::Exception { vector: raw.event as u8, error }
}

/// Table 28-5.
fn port(qualification: u64) -> PortAccess {
    PortAccess {
        port: (qualification >> 16) as u16,
        size: (qualification & 7) as u8 + 1,
        write: qualification & 1 << 3 == 0,
        string: qualification & 1 << 4 != 0,
    }
}

/// Table 28-7: what was tried in bits 2:0, what was allowed in bits 5:3.
fn memory(raw: &Raw) -> MemoryAccess {
    MemoryAccess {
        gpa: raw.guest_physical,
        write: raw.qualification & 1 << 1 != 0,
        fetch: raw.qualification & 1 << 2 != 0,
        present: raw.qualification & 7 << 3 != 0,
    }
}

fn control(raw: &Raw) -> (Meaning, Option<u64>) {
    let kind = raw.qualification >> 4 & 3;
    let register = (raw.qualification & 0xf) as u8;
    let general = (raw.qualification >> 8 & 0xf) as usize;
    let meaning = match kind {
        0 | 1 => Meaning::Control(Control { register, read: kind == 1, general }),
        // CLTS and LMSW change only bits that the guest owns.
        _ => Meaning::Exit(Exit::Unknown(u64::from(reason::CONTROL_REGISTER) | kind << 16)),
    };
    (meaning, Some(next(raw)))
}

/// VM-entry interruption information and error code for an event (table
/// 25-17). Real mode has no error codes (27.2.1.3).
pub fn inject(event: Event, protected: bool) -> (u32, u32) {
    let (kind, vector, error) = match event {
        Event::Interrupt(vector) => (event::INTERRUPT, vector, None),
        Event::Exception(vector, error) => (event::HARDWARE, vector, error.filter(|_| protected)),
        Event::Nmi => (event::NMI, 2, None),
    };
    let deliver = if error.is_some() { event::ERROR } else { 0 };
    (event::VALID | kind | deliver | u32::from(vector), error.unwrap_or(0))
}

/// The event whose delivery an exit cut short, from the IDT-vectoring fields
/// (25.9.3). Software interrupts and exceptions run again by themselves.
pub fn cut_short(info: u32, error: u32) -> Option<Event> {
    let vector = info as u8;
    match info & event::TYPE {
        _ if info & event::VALID == 0 => None,
        event::INTERRUPT => Some(Event::Interrupt(vector)),
        event::NMI => Some(Event::Nmi),
        event::HARDWARE => {
            Some(Event::Exception(vector, (info & event::ERROR != 0).then_some(error)))
        }
        _ => None,
    }
}

/// An IRET that ended the blocking of NMIs has faulted: they are still
/// blocked (28.2.3; bit 12 of the exit's event or qualification).
pub fn nmi_still_blocked(raw: &Raw, vectoring: u32) -> bool {
    let told = match raw.reason & 0xffff {
        reason::EXCEPTION => u64::from(raw.event),
        reason::EPT_VIOLATION => raw.qualification,
        _ => 0,
    };
    told & 1 << 12 != 0 && vectoring & event::VALID == 0
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
