// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM entry checks (SDM Vol. 3, 27.2, 27.3), so that a refused entry
//! is explained, and a wrong one found before it is tried.
//!
//! [`each`] tells every rule that a VMCS breaks; a rule's text begins with the
//! field's name. The rules are in the manual's order: `controls` (27.2.1),
//! `host` (27.2.2 to 27.2.4), `guest` and `segments` (27.3.1). What the manual
//! has for features that no vCPU of ours uses (SMM transfer, enclaves, CET,
//! processor trace) is there as the rule that their controls are off.

mod controls;
mod guest;
mod host;
mod segments;

use super::controls::Capabilities;
use super::layout::{entry, event, field, secondary};
use crate::vendor::context::{LINEAR_BITS, Limits};
use crate::vendor::regs::canonical;

/// What the CPU is like.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'a> {
    pub capabilities: &'a Capabilities,
    pub limits: &'a Limits,
}

/// A VMCS at the moment of the entry.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// A field's value. Asked only for fields that the CPU has when the
    /// controls are as they are.
    pub read: &'a dyn Fn(u32) -> u64,
    /// VTPR, in the virtual-APIC page.
    pub tpr: u8,
}

/// The first rule that is broken.
pub fn check(cpu: &Cpu<'_>, snapshot: &Snapshot<'_>) -> Result<(), &'static str> {
    let mut first = Ok(());
    each(cpu, snapshot, &mut |rule| {
        if first.is_ok() {
            first = Err(rule);
        }
    });
    first
}

/// Tells every rule that is broken.
#[inline(never)]
pub fn each(cpu: &Cpu<'_>, snapshot: &Snapshot<'_>, tell: &mut dyn FnMut(&'static str)) {
    let mut judge = Judge { cpu, snapshot, tell };
    judge.controls();
    judge.exit_controls();
    judge.entry_controls();
    judge.host();
    judge.guest();
    judge.segments();
}

/// Looks at one VMCS. It does so once for each state that is set, so what the
/// two hundred rules share is not inlined: that would be 40 KiB of the image.
struct Judge<'a> {
    cpu: &'a Cpu<'a>,
    snapshot: &'a Snapshot<'a>,
    tell: &'a mut dyn FnMut(&'static str),
}

impl Judge<'_> {
    #[inline(never)]
    fn read(&self, field: u32) -> u64 {
        (self.snapshot.read)(field)
    }

    fn word(&self, field: u32) -> u32 {
        self.read(field) as u32
    }

    /// One rule: told when it is broken.
    #[inline(never)]
    fn rule(&mut self, broken: bool, rule: &'static str) {
        if broken {
            (self.tell)(rule);
        }
    }

    /// An address has low bits set, or is beyond what the CPU can address.
    #[inline(never)]
    fn off(&self, address: u64, align: u64) -> bool {
        address & (align - 1) != 0 || self.beyond(address)
    }

    #[inline(never)]
    fn beyond(&self, address: u64) -> bool {
        address >> self.cpu.limits.physical_bits != 0
    }

    /// Secondary controls; they count only where the primary say so.
    fn second(&self) -> u32 {
        let on = self.word(field::PRIMARY) & super::layout::primary::SECONDARY != 0;
        if on { self.word(field::SECONDARY) } else { 0 }
    }

    fn unrestricted(&self) -> bool {
        self.second() & secondary::UNRESTRICTED != 0
    }

    /// "IA-32e mode guest".
    fn long(&self) -> bool {
        self.word(field::ENTRY) & entry::GUEST_64 != 0
    }

    /// The event to inject, if there is one: its type and the whole field.
    fn event(&self) -> Option<(u32, u32)> {
        let info = self.word(field::ENTRY_EVENT);
        (info & event::VALID != 0).then_some((info & event::TYPE, info))
    }
}

/// The value breaks a capability MSR: bits of the low half must be 1, those
/// not in the high half must be 0 (A.3).
fn against(value: u32, capability: u64) -> bool {
    let (must, may) = (capability as u32, (capability >> 32) as u32);
    value & must != must || value & !may != 0
}

#[inline(never)]
fn linear(address: u64) -> bool {
    canonical(address, LINEAR_BITS)
}

#[cfg(test)]
#[path = "check/tests.rs"]
pub mod tests;
