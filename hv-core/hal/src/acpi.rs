// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few facts the core takes from ACPI's static tables: the CPUs, the
//! local APIC, the PM timer, the HPET and the reset register ([`parse`]).
//! Everything else of ACPI is the control domain's.
//!
//! Tables come from firmware and are not trusted to be whole: each is copied,
//! its length bounded, its checksum verified, and a damaged one counts as not
//! there (with a note). Field offsets: ACPI 6.5, sections 5.2.5 to 5.2.12, and
//! the IA-PC HPET specification 1.0a, section 3.2.4.

use crate::bootinfo::Physical;
use alloc::{string::String, vec, vec::Vec};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Longest table that is read.
const MAX_TABLE: usize = 1 << 20;
/// Most tables a root table may list.
const MAX_TABLES: usize = 256;

/// A CPU of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Its local APIC's id.
    pub apic_id: u32,
    /// It can be started now.
    pub enabled: bool,
}

/// The ACPI power management timer, 3.579545 MHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmTimer {
    /// I/O port of its counter.
    pub port: u16,
    /// The counter has 32 bits, not 24.
    pub wide: bool,
}

/// What the tables say.
#[derive(Debug, Default)]
pub struct Machine {
    /// CPUs, in the firmware's order, each id once.
    pub processors: Vec<Processor>,
    /// Machine address of the local APICs' registers, or 0.
    pub local_apic: u64,
    /// The local interrupt input (0 or 1) that NMIs arrive at on all CPUs.
    pub nmi_input: Option<u8>,
    /// PM timer.
    pub pm_timer: Option<PmTimer>,
    /// Machine address of the HPET's registers.
    pub hpet: Option<u64>,
    /// Port and value that reset the machine.
    pub reset: Option<(u16, u8)>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    len: U32,
    _revision: [u8; 28],
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GenericAddress {
    space: u8,
    _width: [u8; 3],
    address: U64,
}

const SPACE_MEMORY: u8 = 0;
const SPACE_IO: u8 = 1;

/// Length of the root pointer with its version 2 fields.
pub const ROOT_LEN: usize = 36;
const ROOT_LEN_1: usize = 20;

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A reading at an offset, or none when the table is too short.
fn field<T: FromBytes>(table: &[u8], offset: usize) -> Option<T> {
    T::read_from_prefix(table.get(offset..)?).ok().map(|(value, _)| value)
}

/// The bytes are a root pointer: signature and checksums fit.
fn is_root(root: &[u8]) -> bool {
    let Some(first) = root.get(..ROOT_LEN_1) else { return false };
    if !first.starts_with(b"RSD PTR ") || sum(first) != 0 {
        return false;
    }
    let version_2 = root.get(15).is_some_and(|revision| *revision >= 2);
    !version_2 || root.get(..ROOT_LEN).is_some_and(|all| sum(all) == 0)
}

/// Looks for the root pointer where a PC BIOS puts it: the first KiB of the
/// EBDA, then 0xe0000 to 0xfffff (5.2.5.1).
pub fn scan_for_root(memory: &dyn Physical) -> Option<u64> {
    let mut segment = [0; 2];
    let ebda = if memory.copy(0x40e, &mut segment) {
        u64::from(u16::from_le_bytes(segment)) << 4
    } else {
        0
    };
    let ebda_range = if (0x8_0000..0xa_0000).contains(&ebda) { ebda..ebda + 1024 } else { 0..0 };
    ebda_range.step_by(16).chain((0xe_0000..0x10_0000).step_by(16)).find(|at| {
        let mut signature = [0; 8];
        memory.copy(*at, &mut signature)
            && &signature == b"RSD PTR "
            && read_root(memory, *at).is_some()
    })
}

/// Copies and verifies the root pointer at an address.
pub fn read_root(memory: &dyn Physical, address: u64) -> Option<[u8; ROOT_LEN]> {
    let mut root = [0; ROOT_LEN];
    if !memory.copy(address, &mut root) {
        return None;
    }
    is_root(&root).then_some(root)
}

/// The root pointer that EFI's system table lists (UEFI 2.10, 4.3 and 4.6).
pub fn root_from_efi(memory: &dyn Physical, system_table: u64) -> Option<u64> {
    const ACPI_2: [u8; 16] = [
        0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88,
        0x81,
    ];
    let mut table = [0; 120];
    if system_table == 0 || !memory.copy(system_table, &mut table) {
        return None;
    }
    if !table.starts_with(b"IBI SYST") {
        return None;
    }
    let count = field::<U64>(&table, 104)?.get().min(256);
    let list = field::<U64>(&table, 112)?.get();
    for i in 0..count {
        let mut entry = [0; 24];
        if !memory.copy(list.checked_add(24 * i)?, &mut entry) {
            return None;
        }
        let address = field::<U64>(&entry, 16)?.get();
        if entry.starts_with(&ACPI_2) && read_root(memory, address).is_some() {
            return Some(address);
        }
    }
    None
}

/// Reads what the core needs, from a root pointer.
pub fn parse(root: &[u8], memory: &dyn Physical) -> Result<Machine, &'static str> {
    if !is_root(root) {
        return Err("ACPI's root pointer is damaged");
    }
    let version_2 = root.get(15).is_some_and(|revision| *revision >= 2);
    let xsdt = if version_2 { field::<U64>(root, 24).map_or(0, |a| a.get()) } else { 0 };
    let rsdt: u64 = field::<U32>(root, 16).map_or(0, |a| a.get()).into();
    let (list, signature, entry) = if xsdt != 0 { (xsdt, b"XSDT", 8) } else { (rsdt, b"RSDT", 4) };
    let list = read_table(memory, list)?;
    if !list.starts_with(signature) {
        return Err("ACPI's root table is damaged");
    }

    let mut machine = Machine::default();
    let addresses = list.get(size_of::<Header>()..).unwrap_or_default();
    for address in addresses.chunks_exact(entry).take(MAX_TABLES) {
        let mut wide = [0; 8];
        wide.iter_mut().zip(address).for_each(|(to, from)| *to = *from);
        let address = u64::from_le_bytes(wide);
        let mut name = [0; 4];
        if !memory.copy(address, &mut name) {
            continue;
        }
        let read = match &name {
            b"APIC" => read_table(memory, address).map(|t| madt(&t, &mut machine)),
            b"FACP" => read_table(memory, address).map(|t| fadt(&t, &mut machine)),
            b"HPET" => read_table(memory, address).map(|t| hpet(&t, &mut machine)),
            _ => continue,
        };
        if let Err(why) = read {
            let name = String::from_utf8_lossy(&name);
            machine.notes.push(alloc::format!("table {name} is left out: {why}"));
        }
    }
    Ok(machine)
}

/// Copies a table and verifies it.
fn read_table(memory: &dyn Physical, address: u64) -> Result<Vec<u8>, &'static str> {
    let mut head = [0; size_of::<Header>()];
    if address == 0 || !memory.copy(address, &mut head) {
        return Err("it lies outside of memory");
    }
    let header = Header::read_from_bytes(&head).map_err(|_| "its head is cut off")?;
    let len = header.len.get() as usize;
    if !(size_of::<Header>()..=MAX_TABLE).contains(&len) {
        return Err("it has an impossible length");
    }
    let mut table = vec![0; len];
    if !memory.copy(address, &mut table) {
        return Err("it lies outside of memory");
    }
    if !table.starts_with(&header.signature) || sum(&table) != 0 {
        return Err("its checksum is wrong");
    }
    Ok(table)
}

/// The multiple APIC description table (5.2.12).
fn madt(table: &[u8], machine: &mut Machine) {
    machine.local_apic = field::<U32>(table, 36).map_or(0, |a| a.get()).into();
    let mut rest = table.get(44..).unwrap_or_default();
    // An entry is a type, a length that counts the whole entry, and the rest.
    while let [kind, len, ..] = *rest {
        let len = usize::from(len);
        let Some(entry) = rest.get(..len).filter(|entry| entry.len() >= 2) else {
            machine.notes.push("the list of CPUs is cut off".into());
            break;
        };
        madt_entry(kind, entry, machine);
        rest = rest.get(len..).unwrap_or_default();
    }
}

fn madt_entry(kind: u8, entry: &[u8], machine: &mut Machine) {
    match kind {
        0 => {
            // 255 is the broadcast address: no CPU.
            let id = field::<u8>(entry, 3).filter(|id| *id != 0xff);
            if let (Some(id), Some(flags)) = (id, field::<U32>(entry, 4)) {
                processor(machine, id.into(), flags.get());
            }
        }
        9 => {
            let id = field::<U32>(entry, 4).filter(|id| id.get() != u32::MAX);
            if let (Some(id), Some(flags)) = (id, field::<U32>(entry, 8)) {
                processor(machine, id.get(), flags.get());
            }
        }
        // Local APIC NMI: the same input on all CPUs is what there is in
        // practice (UID 0xff, or one entry for each CPU).
        4 => machine.nmi_input = field::<u8>(entry, 5).filter(|input| *input < 2),
        10 => machine.nmi_input = field::<u8>(entry, 8).filter(|input| *input < 2),
        5 => {
            if let Some(address) = field::<U64>(entry, 4) {
                machine.local_apic = address.get();
            }
        }
        _ => {}
    }
}

fn processor(machine: &mut Machine, apic_id: u32, flags: u32) {
    let enabled = flags & 1 != 0;
    match machine.processors.iter_mut().find(|p| p.apic_id == apic_id) {
        Some(known) => known.enabled |= enabled,
        None => machine.processors.push(Processor { apic_id, enabled }),
    }
}

/// The fixed description table (5.2.9).
fn fadt(table: &[u8], machine: &mut Machine) {
    let flags = field::<U32>(table, 112).map_or(0, |f| f.get());
    let extended = field::<GenericAddress>(table, 208)
        .filter(|r| r.space == SPACE_IO)
        .map(|r| r.address.get())
        .filter(|port| *port != 0);
    let port = extended.or(field::<U32>(table, 76).map(|p| p.get().into()));
    let present = field::<u8>(table, 91) == Some(4);
    if let Some(port) = port.and_then(|p| u16::try_from(p).ok()).filter(|p| present && *p != 0) {
        machine.pm_timer = Some(PmTimer { port, wide: flags & 1 << 8 != 0 });
    }
    let reset = field::<GenericAddress>(table, 116).filter(|r| r.space == SPACE_IO);
    if let (Some(register), Some(value)) = (reset, field::<u8>(table, 128)) {
        let port = u16::try_from(register.address.get()).unwrap_or(0);
        if flags & 1 << 10 != 0 && port != 0 {
            machine.reset = Some((port, value));
        }
    }
}

/// The event timer's table.
fn hpet(table: &[u8], machine: &mut Machine) {
    let base = field::<GenericAddress>(table, 40).filter(|b| b.space == SPACE_MEMORY);
    machine.hpet = base.map(|b| b.address.get()).filter(|a| *a != 0 && a.is_multiple_of(8));
}

/// So that the compiler, not a reader, keeps the layouts.
const _: () = assert!(size_of::<Header>() == 36 && size_of::<GenericAddress>() == 12);

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
