// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses that stage 2 does not allow. The control domain sees devices at
//! their machine address: a first touch of an address that is no RAM opens
//! it. RAM that is not its own, and the local APIC's page, stay shut: there
//! the access gets #GP. A guest that touches what it has not got is stopped.

use crate::domain::Domain;
use crate::guest_log;
use crate::memory::frames::{self, FrameState};
use crate::memory::pool::TablesOf;
use crate::outcome::Outcome;
use crate::vcpu::Core;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::domain::reason;
use hv_hal::addr::{Frame, Order};
use hv_hal::exit::{GENERAL_PROTECTION, MemoryAccess};
use hv_hal::stage2::{Access, Cache, MapError};

/// The local APIC's page (SDM Vol. 3, 11.4.1).
const APIC_PAGE: u64 = 0xfee0_0000;

/// One past the highest RAM address; above it everything is devices.
static RAM_END: AtomicU64 = AtomicU64::new(0);
/// Ranges below that hold no RAM, as the boot loader told.
static RAM: spin::Once<alloc::vec::Vec<(u64, u64)>> = spin::Once::new();

/// Notes where RAM is; called once, at boot.
pub fn note_ram(ranges: alloc::vec::Vec<(u64, u64)>) {
    let end = ranges.iter().map(|r| r.1).max().unwrap_or(0);
    RAM_END.store(end, Ordering::Relaxed);
    RAM.call_once(|| ranges);
}

fn overlaps_ram(start: u64, end: u64) -> bool {
    let ranges = RAM.get().map_or(&[][..], |r| r.as_slice());
    ranges.iter().any(|r| start < r.1 && r.0 < end)
}

/// Handles one access.
pub fn handle(domain: &Domain, core: &mut Core, access: MemoryAccess) -> Outcome {
    if domain.is_control() {
        return control(domain, core, access);
    }
    let kind = match (access.fetch, access.write) {
        (true, _) => "fetched from",
        (_, true) => "wrote to",
        _ => "read from",
    };
    guest_log!(domain, "{kind} {:#x}, where it has no memory, at {:#x}", access.gpa, core.hw.rip());
    Outcome::Stop(reason::MEMORY_FAULT, access.gpa)
}

fn control(domain: &Domain, core: &mut Core, access: MemoryAccess) -> Outcome {
    let page = access.gpa & !(hv_abi::PAGE_SIZE - 1);
    let is_ram = frames::state(Frame::holding(page)) != FrameState::Reserved
        || overlaps_ram(page, page + hv_abi::PAGE_SIZE);
    if is_ram || page == APIC_PAGE {
        guest_log!(
            domain,
            "the control domain touched {:#x}, which is not its own, at {:#x}",
            access.gpa,
            core.hw.rip()
        );
        core.hw.inject(GENERAL_PROTECTION);
        return Outcome::Resume;
    }
    match open_device(domain, page) {
        Ok(()) => Outcome::Resume,
        Err(error) => {
            log::error!("device memory at {page:#x} can't be opened: {error:?}");
            core.hw.inject(GENERAL_PROTECTION);
            Outcome::Resume
        }
    }
}

/// Opens the 2 MiB around a device page, or the page where that would take
/// in RAM or the APIC.
fn open_device(domain: &Domain, page: u64) -> Result<(), MapError> {
    let _turn = domain.memory.change.lock();
    let mut stage2 = domain.memory.stage2.write();
    let mut put = |at: u64, order: Order| {
        stage2.map(
            at,
            Frame::holding(at),
            order,
            Access::RW,
            Cache::Uncached,
            &mut TablesOf(domain.id),
        )
    };
    let large = page & !(Order::P2M.bytes() - 1);
    let end = large + Order::P2M.bytes();
    let apic = (large..end).contains(&APIC_PAGE);
    if !apic && !overlaps_ram(large, end) && put(large, Order::P2M).is_ok() {
        return Ok(());
    }
    match put(page, Order::P4K) {
        // Another of its CPUs was faster.
        Err(MapError::Occupied) => Ok(()),
        other => other,
    }
}
