// SPDX-License-Identifier: MIT OR Apache-2.0
//! From an exit code to an [`Exit`], and to the address of the next
//! instruction (APM Vol. 2, 15.7, appendix C).

use super::layout::{Vmcb, event, exit};
use crate::exit::{Event, Exit, MemoryAccess, PortAccess};

/// What an exit means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The kernel crate decides.
    Exit(Exit),
    /// The guest is about to leave its NMI handler.
    Iret,
    /// The guest is about to change its priority.
    Priority,
    /// The CPU refused the block.
    Invalid,
}

/// What it means, and where the next instruction is, if the exit was for one.
/// `rcx` and `rdx` are the guest's. `next_rip`: the CPU stores it (NRIPS).
pub fn decode(vmcb: &Vmcb, rcx: u64, rdx: u64, next_rip: bool) -> (Meaning, Option<u64>) {
    let c = &vmcb.control;
    let value = rdx << 32 | vmcb.save.rax & 0xffff_ffff;
    // Lengths of the plain encodings: used without NRIPS only. A prefix that
    // nobody needs makes the guest's own next instruction wrong, no more.
    let (exit, length) = match c.exit_code {
        exit::INTR => (Exit::Interrupt, 0),
        exit::NMI => (Exit::Nmi, 0),
        exit::INIT => (Exit::Handled, 0),
        exit::VINTR => (Exit::Window, 0),
        exit::VMMCALL => (Exit::Hypercall, 3),
        exit::CPUID => (Exit::Cpuid, 2),
        exit::HLT => (Exit::Halt, 1),
        exit::PAUSE => (Exit::Pause, 2),
        exit::INVD | exit::WBINVD => (Exit::CacheFlush, 2),
        exit::MSR if c.exit_info1 & 1 == 0 => (Exit::ReadMsr(rcx as u32), 2),
        exit::MSR => (Exit::WriteMsr(rcx as u32, value), 2),
        exit::XSETBV => (Exit::Xsetbv(rcx as u32, value), 3),
        exit::IOIO => {
            // EXITINFO2 is the next instruction's address (15.10.2).
            return (Meaning::Exit(Exit::Port(port(c.exit_info1))), Some(c.exit_info2));
        }
        exit::NESTED_FAULT => (Exit::Memory(memory(c.exit_info1, c.exit_info2)), 0),
        exit::SHUTDOWN => (Exit::Shutdown, 0),
        code @ 0x40..=0x5f => (exception(code, c.exit_info1), 0),
        exit::RDPMC => (Exit::Refused("RDPMC"), 2),
        exit::RSM => (Exit::Refused("RSM"), 2),
        exit::INVLPGA => (Exit::Refused("INVLPGA"), 3),
        exit::VMRUN => (Exit::Refused("VMRUN"), 3),
        exit::VMLOAD => (Exit::Refused("VMLOAD"), 3),
        exit::VMSAVE => (Exit::Refused("VMSAVE"), 3),
        exit::STGI => (Exit::Refused("STGI"), 3),
        exit::CLGI => (Exit::Refused("CLGI"), 3),
        exit::SKINIT => (Exit::Refused("SKINIT"), 3),
        exit::MONITOR => (Exit::Refused("MONITOR"), 3),
        exit::MWAIT | exit::MWAIT_ARMED => (Exit::Refused("MWAIT"), 3),
        exit::RDPRU => (Exit::Refused("RDPRU"), 3),
        exit::IRET => return (Meaning::Iret, None),
        exit::CR8_WRITE => return (Meaning::Priority, None),
        code if code as u32 == exit::INVALID => return (Meaning::Invalid, None),
        code => (Exit::Unknown(code), 0),
    };
    let next = match length {
        0 => None,
        _ if next_rip && c.next_rip != 0 => Some(c.next_rip),
        _ => Some(vmcb.save.rip.wrapping_add(length)),
    };
    (Meaning::Exit(exit), next)
}

/// EXITINFO1 of an I/O exit: figure 15-2.
fn port(info: u64) -> PortAccess {
    let size = match info >> 4 & 7 {
        1 => 1,
        2 => 2,
        _ => 4,
    };
    PortAccess { port: (info >> 16) as u16, size, write: info & 1 == 0, string: info & 1 << 2 != 0 }
}

/// EXITINFO1 of a nested page fault is a page fault's error code (15.25.6).
fn memory(error: u64, gpa: u64) -> MemoryAccess {
    MemoryAccess {
        gpa,
        write: error & 1 << 1 != 0,
        fetch: error & 1 << 4 != 0,
        present: error & 1 << 0 != 0,
    }
}

fn exception(code: u64, info: u64) -> Exit {
    let vector = (code - exit::EXCEPTION) as u8;
    Exit::Exception { vector, error: has_error(vector).then_some(info as u32) }
}

/// Exceptions that push an error code (APM Vol. 2, table 8-1).
pub fn has_error(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// EVENTINJ for an event (15.20). Real mode has no error codes.
pub fn inject(event: Event, protected: bool) -> u64 {
    let (kind, vector, error) = match event {
        Event::Interrupt(vector) => (event::INTERRUPT, vector, None),
        Event::Exception(vector, error) => (event::EXCEPTION, vector, error.filter(|_| protected)),
        Event::Nmi => (event::NMI, 2, None),
    };
    let error = error.map_or(0, |error| u64::from(error) << 32 | event::ERROR);
    error | event::VALID | kind | u64::from(vector)
}

/// The event whose delivery an exit cut short, from EXITINTINFO (15.7.2).
/// Software interrupts and INT3, INTO run again by themselves.
pub fn cut_short(info: u64) -> Option<Event> {
    let vector = info as u8;
    let error = (info & event::ERROR != 0).then_some((info >> 32) as u32);
    match info & event::TYPE {
        _ if info & event::VALID == 0 => None,
        event::INTERRUPT => Some(Event::Interrupt(vector)),
        event::NMI => Some(Event::Nmi),
        event::EXCEPTION if !matches!(vector, 3 | 4) => Some(Event::Exception(vector, error)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
