// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control domain's window on others' memory: a page shows at its machine
//! address, from its first mapping to its last.
//!
//! Every mapping is a reference on the frame, by MemoryMap ([`Kind::Map`]) or
//! by a grant ([`Kind::Loan`]); the control domain's stage 2 has a translation
//! for exactly the pages with such references.

use super::domain::{drop_empty_tables, map_status, range};
use super::flush::{self, Stale};
use super::frames::{self, FrameState};
use super::pool::{self, Fate, Kind, TablesOf};
use crate::domain::{Domain, table};
use core::sync::atomic::Ordering;
use hv_abi::memory::{ForeignRun, PAGES_PER_CALL};
use hv_abi::{DOM_CONTROL, Status};
use hv_hal::addr::{Frame, Order};
use hv_hal::stage2::{Access, Cache, MapError};

/// The machine-contiguous run of pages at `gpa`, at most `pages` long.
fn run(domain: &Domain, gpa: u64, pages: u64) -> Option<(Frame, u64)> {
    let stage2 = domain.memory.stage2.read();
    let first = stage2.lookup(gpa)?.frame;
    let length = (1..pages)
        .take_while(|i| {
            stage2
                .lookup(gpa + i * hv_abi::PAGE_SIZE)
                .is_some_and(|leaf| leaf.frame == first.plus(*i))
        })
        .count() as u64
        + 1;
    Some((first, length))
}

/// Opens a run of `domain`'s pages to the control domain.
pub fn map(control: &Domain, domain: &Domain, gpa: u64, pages: u64) -> Result<ForeignRun, Status> {
    let run = lend(control, domain, gpa, pages, Kind::Map)?;
    domain.memory.foreign.fetch_add(run.pages, Ordering::Relaxed);
    Ok(run)
}

/// The same by either right; the caller keeps the account of it.
pub fn lend(
    control: &Domain,
    domain: &Domain,
    gpa: u64,
    pages: u64,
    kind: Kind,
) -> Result<ForeignRun, Status> {
    range(gpa, pages)?;
    let _turn = domain.memory.change.lock();
    let _window = control.memory.change.lock();
    // In turn with the teardown: after it began there are no tables to read.
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    let (first, length) = run(domain, gpa, pages.min(PAGES_PER_CALL)).ok_or(Status::NotFound)?;
    let mut counted = 0;
    let mut fresh = true;
    for page in (0..length).map(|i| first.plus(i)) {
        fresh &= pool::Uses::of(page).is_some_and(|u| !u.is_shown());
        if !pool::refer(page, domain.id, kind) {
            break;
        }
        counted += 1;
    }
    if counted == 0 {
        return Err(Status::NotFound);
    }
    if let Err(error) = open(control, first, counted, fresh) {
        close(control, domain, first, counted, kind);
        return Err(map_status(error));
    }
    Ok(ForeignRun { machine: first.address(), pages: counted })
}

/// Takes back what [`lend`] opened.
pub fn take_back(control: &Domain, domain: &Domain, first: Frame, pages: u64, kind: Kind) {
    let _turn = domain.memory.change.lock();
    let _window = control.memory.change.lock();
    close(control, domain, first, pages, kind);
}

/// Puts the pages into the control domain's tables where they are not yet.
fn open(control: &Domain, first: Frame, pages: u64, fresh: bool) -> Result<(), MapError> {
    let mut stage2 = control.memory.stage2.write();
    let mut tables = TablesOf(DOM_CONTROL);
    let mut put = |frame: Frame, order| {
        let at = frame.address();
        stage2.map(at, frame, order, Access::RWX, Cache::WriteBack, &mut tables)
    };
    let large = fresh && pages == Order::P2M.pages() && first.0.is_multiple_of(pages);
    if large && put(first, Order::P2M).is_ok() {
        return Ok(());
    }
    for page in (0..pages).map(|i| first.plus(i)) {
        match put(page, Order::P4K) {
            // Another mapping has opened it already.
            Ok(()) | Err(MapError::Occupied) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes one mapping of each page back; closes those that lose their last,
/// and frees those whose domain gave them up. Whoever takes the last use of
/// a page away frees it, so that is asked when its count goes down, and not
/// before every CPU has forgotten the page.
fn close(control: &Domain, domain: &Domain, first: Frame, pages: u64, kind: Kind) {
    let run = || (0..pages).map(|i| first.plus(i));
    for page in run() {
        // Both counts change in the window's turn only.
        if pool::Uses::of(page).is_some_and(|u| u.maps + u.loans == 1) {
            // Splitting a large leaf can want memory that is not there. Then
            // the page stays visible to the control domain, which may map
            // any guest's memory; it is closed with its leaf later.
            let _ = control.memory.stage2.write().unmap(
                page.address(),
                Order::P4K,
                &mut TablesOf(DOM_CONTROL),
            );
        }
    }
    drop_empty_tables(control, first.address(), pages);
    let proof = flush::everywhere(control);
    control.memory.stage2.write().reclaim(&mut TablesOf(DOM_CONTROL));
    for page in run() {
        if pool::unrefer(page, kind) == Fate::Nobodys {
            domain.memory.pages.fetch_sub(1, Ordering::Relaxed);
            Stale(page, Order::P4K).settle(&proof);
        }
    }
}

/// Ends mappings of at most 512 pages at a machine address.
pub fn unmap(control: &Domain, machine: u64, pages: u64) -> Result<u64, Status> {
    range(machine, pages)?;
    let first = Frame::holding(machine);
    let pages = pages.min(PAGES_PER_CALL);
    let FrameState::Owned { owner, .. } = frames::state(first) else {
        return Err(Status::NotFound);
    };
    if owner == DOM_CONTROL {
        return Err(Status::Invalid);
    }
    let domain = table::get(owner).ok_or(Status::NotFound)?;
    {
        let _turn = domain.memory.change.lock();
        let _window = control.memory.change.lock();
        // Check: every page is that domain's and is mapped.
        let valid = (0..pages).all(|i| {
            matches!(frames::state(first.plus(i)),
                FrameState::Owned { owner: o, maps, .. } if o == owner && maps > 0)
        });
        if !valid || domain.memory.foreign.load(Ordering::Relaxed) < pages {
            return Err(Status::NotFound);
        }
        close(control, &domain, first, pages, Kind::Map);
        domain.memory.foreign.fetch_sub(pages, Ordering::Relaxed);
    }
    crate::domain::destroy::forget_if_empty(&domain);
    Ok(pages)
}
