// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit: every frame has exactly one state and owner, and all tables and
//! counters agree with the frame database. Meant for a quiet moment; what
//! changes while it runs may be reported falsely.

use crate::domain::{Domain, table};
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
            FrameState::Owned { owner, maps, .. } => {
                if let Some(sum) = sums.get_mut(usize::from(owner)) {
                    sum.pages += 1;
                    sum.maps += u64::from(maps);
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
            None if sum.pages + sum.maps + sum.tables > 0 => complain(format_args!(
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
}
