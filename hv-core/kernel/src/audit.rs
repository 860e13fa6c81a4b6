// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit: every frame has exactly one state and owner, and all tables and
//! counters agree with the frame database. Meant for a quiet moment; what
//! changes while it runs may be reported falsely.

use crate::domain::{Domain, table};
use crate::grant::revoke;
use crate::memory::frames::{self, FrameState};
use crate::memory::pool;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use hv_abi::MAX_DOMAINS;
use hv_hal::addr::Frame;

#[derive(Clone, Copy, Default)]
struct Sum {
    pages: u64,
    maps: u64,
    /// Mappings by grants, as its frames count them.
    granted: u64,
    tables: u64,
}

/// Checks everything; returns how many discrepancies there are, and logs
/// each.
pub fn run() -> u64 {
    let mut wrong = 0;
    let mut complain = |text: core::fmt::Arguments<'_>| {
        wrong += 1;
        log::error!("{text}");
    };
    let mut sums: Vec<Sum> = Vec::new();
    let room = pool::make_room(MAX_DOMAINS * size_of::<Sum>());
    if !room || sums.try_reserve_exact(MAX_DOMAINS).is_err() {
        log::warn!("no memory for an audit");
        return u64::MAX;
    }
    sums.resize(MAX_DOMAINS, Sum::default());
    let mut free = 0;
    for number in 0..frames::count() {
        let state = frames::state(Frame(number));
        match state {
            FrameState::FreeHead { .. } | FrameState::FreeTail => free += 1,
            FrameState::Owned { owner, maps, loans, grants, .. } => {
                if let Some(sum) = sums.get_mut(usize::from(owner)) {
                    sum.pages += 1;
                    sum.maps += u64::from(maps);
                    sum.granted += u64::from(loans + grants);
                }
            }
            FrameState::Table { owner } => {
                if let Some(sum) = sums.get_mut(usize::from(owner)) {
                    sum.tables += 1;
                }
            }
            FrameState::Reserved | FrameState::Core => {}
        }
    }
    let (_, counted) = pool::stats();
    if counted != free {
        complain(format_args!("{counted} pages are counted as free, {free} are"));
    }
    for (id, sum) in sums.iter().enumerate() {
        let domain = u16::try_from(id).ok().and_then(table::get);
        match domain {
            None if sum.pages + sum.tables > 0 => complain(format_args!(
                "d{id} is gone, yet {} pages and {} tables are its own",
                sum.pages, sum.tables
            )),
            None => {}
            Some(domain) => compare(&domain, sum, &mut complain),
        }
    }
    log::info!("audit: {wrong} discrepancies in {} frames", frames::count());
    wrong
}

fn compare(domain: &Arc<Domain>, sum: &Sum, complain: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
    let pages = domain.memory.pages.load(Ordering::Relaxed);
    let foreign = domain.memory.foreign.load(Ordering::Relaxed);
    let id = domain.id;
    if pages != sum.pages {
        complain(format_args!("d{id} counts {pages} pages, {} are its own", sum.pages));
    }
    if foreign != sum.maps {
        complain(format_args!("d{id} counts {foreign} foreign mappings, its frames {}", sum.maps));
    }
    grants(domain, sum.granted, complain);
    let (used, taken) = domain.ports.count();
    if used != taken {
        complain(format_args!("d{id} counts {used} ports, {taken} are not free"));
    }
    let held = domain.grants.held.load(Ordering::Relaxed) as usize;
    let there = domain.grants.mappings.lock().iter().count();
    if held != there {
        complain(format_args!("d{id} counts {held} mappings of grants, {there} are there"));
    }
}

/// What the granter counts, its frames, its entries and the mappers' tables
/// must agree.
fn grants(domain: &Domain, frames: u64, complain: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
    let id = domain.id;
    let pages = domain.grants.pages.load(Ordering::Relaxed);
    let uses = domain.grants.uses.load(Ordering::Relaxed);
    let (mappings, mapped) = revoke::mapped_of(id);
    if pages != frames || pages != mapped {
        complain(format_args!(
            "d{id} counts {pages} granted pages, its frames {frames}, the mappers {mapped}"
        ));
    }
    let entries = domain
        .grants
        .table
        .get()
        .map_or(0, |table| table.in_use().map(|(_, count, _)| u64::from(count)).sum::<u64>());
    if uses != entries || uses != mappings {
        complain(format_args!(
            "d{id} counts {uses} uses of grants, its entries {entries}, the mappers {mappings}"
        ));
    }
}
