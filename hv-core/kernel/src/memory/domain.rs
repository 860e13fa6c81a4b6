// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's memory: its stage 2 tables and its account of pages.

use super::flush::{self, Stale};
use super::pool::{self, Claim, Fate, TablesOf};
use crate::domain::Domain;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::memory::{MemoryInfo, PAGES_PER_CALL, access};
use hv_abi::{DomainId, Status};
use hv_hal::addr::{Frame, Order};
use hv_hal::stage2::{Access, Cache, MapError, Stage2};
use spin::{Mutex, RwLock};

/// What a domain has of memory.
pub struct DomainMemory {
    /// Translation from guest-physical to machine.
    pub stage2: RwLock<Stage2>,
    /// Populate, release, map and teardown of one domain take turns.
    pub change: Mutex<()>,
    /// Pages it owns, those it gave up but others still refer to included.
    pub pages: AtomicU64,
    /// The most it may own.
    pub max_pages: AtomicU64,
    /// Foreign mappings of its pages, each counted.
    pub foreign: AtomicU64,
    /// Pages of the pool that are set aside for it.
    pub claim: Claim,
    /// Raised when its translations must be forgotten.
    pub flush: AtomicU64,
}

impl DomainMemory {
    /// Empty tables; `None` without a frame for them.
    pub fn new(owner: DomainId, max_pages: u64) -> Option<Self> {
        let stage2 = Stage2::new(hv_hal::vcpu::stage2_format(), &mut TablesOf(owner))?;
        Some(Self {
            stage2: RwLock::new(stage2),
            change: Mutex::new(()),
            pages: AtomicU64::new(0),
            max_pages: AtomicU64::new(max_pages),
            foreign: AtomicU64::new(0),
            claim: Claim::none(),
            flush: AtomicU64::new(1),
        })
    }

    /// The machine frame behind a guest-physical address, if it is mapped.
    pub fn frame(&self, gpa: u64) -> Option<Frame> {
        self.stage2.read().lookup(gpa).map(|leaf| leaf.frame)
    }
}

/// Lossless: every way in which mapping fails has a status.
pub fn map_status(error: MapError) -> Status {
    match error {
        MapError::NoMemory => Status::NoMemory,
        MapError::Occupied => Status::Exists,
        MapError::Misaligned => Status::Invalid,
    }
}

/// Guest-physical ranges must end below this: the lowest limit of the
/// formats' four levels (48 bits).
pub const GPA_LIMIT: u64 = 1 << 47;

/// The bytes of a page range, when it is one.
pub fn range(gpa: u64, pages: u64) -> Result<core::ops::Range<u64>, Status> {
    let end = pages
        .checked_mul(hv_abi::PAGE_SIZE)
        .and_then(|bytes| gpa.checked_add(bytes))
        .filter(|end| *end <= GPA_LIMIT)
        .ok_or(Status::Invalid)?;
    if gpa.is_multiple_of(hv_abi::PAGE_SIZE) && pages > 0 {
        Ok(gpa..end)
    } else {
        Err(Status::Invalid)
    }
}

/// Gives the domain at most 512 fresh pages; returns how many it got.
pub fn populate(domain: &Domain, gpa: u64, pages: u64) -> Result<u64, Status> {
    range(gpa, pages)?;
    let _turn = domain.memory.change.lock();
    // Looked at in turn with the teardown: its tables may be gone already.
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    let pages = pages.min(PAGES_PER_CALL);
    let room = domain
        .memory
        .max_pages
        .load(Ordering::Relaxed)
        .saturating_sub(domain.memory.pages.load(Ordering::Relaxed));
    if pages > room {
        return Err(Status::Limit);
    }
    let mut done = 0;
    while done < pages {
        let at = gpa + done * hv_abi::PAGE_SIZE;
        let large = at.is_multiple_of(Order::P2M.bytes()) && pages - done >= Order::P2M.pages();
        let step = if large {
            populate_one(domain, at, Order::P2M).or_else(|_| populate_one(domain, at, Order::P4K))
        } else {
            populate_one(domain, at, Order::P4K)
        };
        match step {
            Ok(got) => done += got,
            Err(status) if done == 0 => return Err(status),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn populate_one(domain: &Domain, gpa: u64, order: Order) -> Result<u64, Status> {
    let frame = pool::allocate(domain.id, order, &domain.memory.claim).ok_or(Status::NoMemory)?;
    let mapped = domain.memory.stage2.write().map(
        gpa,
        frame,
        order,
        Access::RWX,
        Cache::WriteBack,
        &mut TablesOf(domain.id),
    );
    if let Err(error) = mapped {
        pool::free(frame, order);
        return Err(map_status(error));
    }
    domain.memory.pages.fetch_add(order.pages(), Ordering::Relaxed);
    Ok(order.pages())
}

/// Sets pages of the pool aside for a domain.
pub fn claim(domain: &Domain, pages: u64) -> Result<(), Status> {
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    // In turn with the teardown, which gives the claim up.
    let _turn = domain.memory.change.lock();
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    if domain.memory.claim.set(pages) { Ok(()) } else { Err(Status::NoMemory) }
}

/// What is at an address.
pub fn query(domain: &Domain, gpa: u64) -> Result<MemoryInfo, Status> {
    range(gpa, 1)?;
    let stage2 = domain.memory.stage2.read();
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    let leaf = stage2.lookup(gpa).ok_or(Status::NotFound)?;
    let mut info = MemoryInfo {
        machine: leaf.frame.address(),
        owner: domain.id.into(),
        log2_pages: leaf.order.pages().ilog2(),
        ..MemoryInfo::default()
    };
    for (right, bit) in
        [(Access::R, access::READ), (Access::W, access::WRITE), (Access::X, access::EXECUTE)]
    {
        info.access |= if leaf.access.contains(right) { bit } else { 0 };
    }
    // A device's page has no uses.
    if let Some(uses) = pool::Uses::of(leaf.frame) {
        info.owner = uses.owner.into();
        info.maps = uses.maps;
        info.grants = uses.loans + uses.grants;
        info.pins = uses.pins;
    }
    Ok(info)
}

/// Takes back at most 512 pages of the caller's own; returns how many.
/// Stops, with Busy when it is the first, at a page that others refer to.
pub fn release(domain: &Domain, gpa: u64, pages: u64) -> Result<u64, Status> {
    range(gpa, pages)?;
    // The control domain's memory never was the pool's.
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    let _turn = domain.memory.change.lock();
    let mut done = 0;
    let mut status = Status::NotFound;
    while done < pages.min(PAGES_PER_CALL) {
        let at = gpa + done * hv_abi::PAGE_SIZE;
        let frame = match domain.memory.frame(at) {
            Some(frame) if super::frames::is_owned_by(frame, domain.id) => frame,
            _ => break,
        };
        if !pool::is_private(frame) {
            status = Status::Busy;
            break;
        }
        let unmapped = domain.memory.stage2.write().unmap(at, Order::P4K, &mut TablesOf(domain.id));
        if unmapped.is_err() {
            status = Status::NoMemory;
            break;
        }
        // One page a flush: ballooning is rare, and the frame must not be
        // seen through a stale translation for a moment.
        let proof = flush::everywhere(domain);
        if pool::abandon(frame, domain.id) == Fate::Nobodys {
            domain.memory.pages.fetch_sub(1, Ordering::Relaxed);
            Stale(frame, Order::P4K).settle(&proof);
        }
        done += 1;
    }
    if done == 0 { Err(status) } else { Ok(done) }
}

/// Takes the tables around a range out in which nothing is mapped any more.
/// They go back after the flush that follows, by `Stage2::reclaim`.
pub fn drop_empty_tables(domain: &Domain, start: u64, pages: u64) {
    let mut stage2 = domain.memory.stage2.write();
    let end = start.saturating_add(pages.saturating_mul(hv_abi::PAGE_SIZE));
    let mut at = start & !(Order::P2M.bytes() - 1);
    while at < end {
        for order in [Order::P2M, Order::P1G] {
            let first = at & !(order.bytes() - 1);
            // A leaf of this size shows at its first page. Otherwise unmap
            // finds a table, and takes it out if it has no entry.
            if stage2.lookup(first).is_none() {
                let _ = stage2.unmap(first, order, &mut TablesOf(domain.id));
            }
        }
        at += Order::P2M.bytes();
    }
}

/// One bounded step of a dead domain's teardown: true when nothing of its
/// tables is left. Frames that others still map stay as orphans.
pub fn teardown_step(domain: &Domain, budget: usize) -> Result<bool, Status> {
    // A CPU that had just chosen one of its vCPUs finds out and lets go.
    let proof = flush::never_again(domain).ok_or(Status::Again)?;
    let _turn = domain.memory.change.lock();
    let _ = domain.memory.claim.set(0);
    let mut stage2 = domain.memory.stage2.write();
    let done = stage2.teardown(budget, &mut TablesOf(domain.id), &mut |_gpa, leaf| {
        abandon_leaf(domain, leaf.frame, leaf.order, &proof);
    });
    Ok(done)
}

fn abandon_leaf(domain: &Domain, frame: Frame, order: Order, proof: &flush::Flushed) {
    let pages = || (0..order.pages()).map(|i| frame.plus(i));
    // No use of it can begin any more, so one that is private stays so.
    if pages().all(pool::is_private) {
        let own = pages().all(|page| pool::abandon(page, domain.id) == Fate::Nobodys);
        if own {
            domain.memory.pages.fetch_sub(order.pages(), Ordering::Relaxed);
            Stale(frame, order).settle(proof);
        }
        return;
    }
    // Who takes the last use of a page away frees it: that may be another
    // CPU, now.
    for page in pages() {
        if pool::abandon(page, domain.id) == Fate::Nobodys {
            domain.memory.pages.fetch_sub(1, Ordering::Relaxed);
            Stale(page, Order::P4K).settle(proof);
        }
    }
}
