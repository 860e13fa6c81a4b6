// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pool: a buddy allocator over the frame database, in blocks of 4 KiB to
//! 1 GiB. What is handed out is zero. Who gives frames back scrubs them first,
//! outside the lock; blocks that were never handed out still hold what the
//! firmware left and are scrubbed when they are first taken, so that the boot
//! need not touch all memory. The two kinds are not merged.
//!
//! Length: all that holds the pool's lock is here, so that it can be read as one.

use super::frames::{self, FrameState, NIL};
use crate::domain::table;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::DomainId;
use hv_hal::addr::{Frame, Order};
use hv_hal::stage2::TableFrames;
use hv_hal::{heap, mem};
use spin::Mutex;

/// log2 of the largest block's frames, + 1.
const ORDERS: usize = 19;

struct Pool {
    heads: [u64; ORDERS],
    free: u64,
    total: u64,
    /// Free frames that are set aside for domains.
    claimed: u64,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { heads: [NIL; ORDERS], free: 0, total: 0, claimed: 0 });

/// Frames set aside for one domain; changed under the pool's lock only.
pub struct Claim(AtomicU64);

impl Claim {
    /// None.
    pub const fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How many.
    pub fn pages(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets so many aside in place of those before; false when there are not
    /// so many that are free and nobody's.
    pub fn set(&self, pages: u64) -> bool {
        let mut pool = POOL.lock();
        let others = pool.claimed.saturating_sub(self.pages());
        if pages > pool.free.saturating_sub(others) {
            return false;
        }
        pool.claimed = others + pages;
        self.0.store(pages, Ordering::Relaxed);
        true
    }
}

/// Frames that are set aside.
pub fn claimed() -> u64 {
    POOL.lock().claimed
}

/// log2 of a leaf's frames.
const fn log2(order: Order) -> u32 {
    match order {
        Order::P4K => 0,
        Order::P2M => 9,
        Order::P1G => 18,
    }
}

impl Pool {
    fn head(&mut self, order: u32) -> Option<&mut u64> {
        self.heads.get_mut(order as usize)
    }

    fn push(&mut self, frame: u64, order: u32, dirty: bool) {
        let Some(head) = self.head(order) else { return };
        let next = core::mem::replace(head, frame);
        frames::set(Frame(frame), FrameState::FreeHead { order, dirty, previous: NIL, next });
        relink(next, |_, after| (frame, after));
    }

    /// Takes a free head out of its list.
    fn unlink(&mut self, frame: u64) {
        let FrameState::FreeHead { order, previous, next, .. } = frames::state(Frame(frame)) else {
            return;
        };
        if previous == NIL {
            if let Some(head) = self.head(order) {
                *head = next;
            }
        } else {
            relink(previous, |before, _| (before, next));
        }
        relink(next, |_, after| (previous, after));
        frames::set(Frame(frame), FrameState::FreeTail);
    }

    /// A block, and whether it is dirty.
    fn take(&mut self, order: u32) -> Option<(u64, bool)> {
        let mut have = (order..ORDERS as u32).find(|o| self.head(*o).is_some_and(|h| *h != NIL))?;
        let frame = *self.head(have)?;
        let dirty = matches!(frames::state(Frame(frame)), FrameState::FreeHead { dirty: true, .. });
        self.unlink(frame);
        while have > order {
            have -= 1;
            self.push(frame + (1 << have), have, dirty);
        }
        Some((frame, dirty))
    }

    fn give(&mut self, mut frame: u64, mut order: u32, dirty: bool) {
        while order + 1 < ORDERS as u32 {
            let buddy = frame ^ (1 << order);
            let free = matches!(
                frames::state(Frame(buddy)),
                FrameState::FreeHead { order: o, dirty: d, .. } if o == order && d == dirty
            );
            if !free {
                break;
            }
            self.unlink(buddy);
            frames::set(Frame(frame), FrameState::FreeTail);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order, dirty);
    }
}

/// Changes the links of a free head: (previous, next) to what `f` makes.
fn relink(frame: u64, f: impl FnOnce(u64, u64) -> (u64, u64)) {
    if let FrameState::FreeHead { order, dirty, previous, next } = frames::state(Frame(frame)) {
        let (previous, next) = f(previous, next);
        frames::set(Frame(frame), FrameState::FreeHead { order, dirty, previous, next });
    }
}

/// Frames in the pool, and those of them that are free.
pub fn stats() -> (u64, u64) {
    let pool = POOL.lock();
    (pool.total, pool.free)
}

/// Gives the pool a range of RAM at boot, dirty as it is.
pub fn donate(start: Frame, pages: u64) {
    let mut pool = POOL.lock();
    let mut at = start.0;
    let end = start.0 + pages;
    for frame in at..end {
        frames::set(Frame(frame), FrameState::FreeTail);
    }
    while at < end {
        let align = at.trailing_zeros().min(ORDERS as u32 - 1);
        let fit = (end - at).ilog2().min(align);
        pool.give(at, fit, true);
        at += 1 << fit;
    }
    pool.free += pages;
    pool.total += pages;
}

/// Takes one zeroed leaf as memory of a domain, out of its claim if it has
/// one.
pub fn allocate(owner: DomainId, order: Order, claim: &Claim) -> Option<Frame> {
    take(order, FrameState::private(owner), Some(claim))
}

fn take(order: Order, state: FrameState, claim: Option<&Claim>) -> Option<Frame> {
    let (frame, dirty) = {
        let mut pool = POOL.lock();
        let own = claim.map_or(0, Claim::pages);
        let others = pool.claimed.saturating_sub(own);
        if order.pages() > pool.free.saturating_sub(others) {
            return None;
        }
        let (frame, dirty) = pool.take(log2(order))?;
        pool.free -= order.pages();
        if let Some(claim) = claim {
            let left = own.saturating_sub(order.pages());
            claim.0.store(left, Ordering::Relaxed);
            pool.claimed -= own - left;
        }
        (Frame(frame), dirty)
    };
    // Nobody else knows the frames between the locks.
    if dirty {
        mem::zero(frame, order.pages());
    }
    let _pool = POOL.lock();
    for i in 0..order.pages() {
        frames::set(frame.plus(i), state);
    }
    Some(frame)
}

/// Makes sure that the core's heap has room for `bytes`, if need be by giving
/// it 2 MiB of the pool for good.
pub fn make_room(bytes: usize) -> bool {
    if heap::has_room(bytes) {
        return true;
    }
    let Some(frame) = take(Order::P2M, FrameState::Core, None) else {
        return false;
    };
    let pages = Order::P2M.pages();
    POOL.lock().total -= pages;
    heap::extend(frame, pages);
    log::info!("the core's heap grows by 2 MiB");
    heap::has_room(bytes)
}

/// Scrubs and frees one leaf whose translations are flushed everywhere.
pub fn free(frame: Frame, order: Order) {
    mem::zero(frame, order.pages());
    let mut pool = POOL.lock();
    for i in 0..order.pages() {
        frames::set(frame.plus(i), FrameState::FreeTail);
    }
    pool.give(frame.0, log2(order), false);
    pool.free += order.pages();
}

/// What became of a frame whose uses changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The control domain still has it mapped.
    Shown,
    /// Its owner, a guest by a grant, or the core still has it; the control
    /// domain has not.
    Hidden,
    /// Nobody has it: flush, then [`free`] it.
    Nobodys,
    /// It was not in the state for this.
    Wrong,
}

/// Who maps a domain's frame, and by which right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The control domain, by MemoryMap.
    Map,
    /// The control domain, by a grant.
    Loan,
    /// A guest, by a grant.
    Grant,
}

/// Uses of a domain's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// The domain.
    pub owner: DomainId,
    /// Foreign mappings by the control domain.
    pub maps: u32,
    /// The control domain's mappings by grants.
    pub loans: u32,
    /// Guests' mappings by grants.
    pub grants: u32,
    /// The core's own uses.
    pub pins: u32,
    /// Given up by the domain.
    pub orphan: bool,
}

impl Uses {
    /// The uses of a frame, when it is some domain's memory.
    pub fn of(frame: Frame) -> Option<Self> {
        match frames::state(frame) {
            FrameState::Owned { owner, maps, loans, grants, pins, orphan } => {
                Some(Self { owner, maps, loans, grants, pins, orphan })
            }
            _ => None,
        }
    }

    /// Nobody but the owner uses it.
    pub fn is_private(self) -> bool {
        self.maps + self.loans + self.grants + self.pins == 0
    }

    /// The control domain sees it.
    pub fn is_shown(self) -> bool {
        self.maps + self.loans > 0
    }

    fn fate(self) -> Fate {
        match (self.is_shown(), self.orphan && self.is_private()) {
            (_, true) => Fate::Nobodys,
            (true, _) => Fate::Shown,
            (false, _) => Fate::Hidden,
        }
    }

    /// One more or one less of a kind of mapping, within its count's limits.
    fn count(mut self, kind: Kind, more: bool) -> Option<Self> {
        let (count, most) = match kind {
            Kind::Map => (&mut self.maps, frames::MAX_MAPS),
            Kind::Loan => (&mut self.loans, frames::MAX_GRANTS),
            Kind::Grant => (&mut self.grants, frames::MAX_GRANTS),
        };
        let next = if more { count.checked_add(1)? } else { count.checked_sub(1)? };
        if next > most {
            return None;
        }
        *count = next;
        Some(self)
    }
}

/// Changes a frame's uses under the pool's lock; `None` from `f` refuses.
fn change(frame: Frame, f: impl FnOnce(Uses) -> Option<Uses>) -> Fate {
    let _pool = POOL.lock();
    let Some(uses) = Uses::of(frame).and_then(f) else {
        return Fate::Wrong;
    };
    let Uses { owner, maps, loans, grants, pins, orphan } = uses;
    frames::set(frame, FrameState::Owned { owner, maps, loans, grants, pins, orphan });
    uses.fate()
}

/// Counts one more mapping of a domain's frame; false when it is not that
/// domain's or the count is full.
pub fn refer(frame: Frame, domain: DomainId, kind: Kind) -> bool {
    let fate =
        change(frame, |u| if u.owner == domain && !u.orphan { u.count(kind, true) } else { None });
    fate != Fate::Wrong
}

/// Takes a mapping back.
pub fn unrefer(frame: Frame, kind: Kind) -> Fate {
    change(frame, |u| u.count(kind, false))
}

/// The core begins to use a domain's frame for it.
pub fn pin(frame: Frame, domain: DomainId) -> bool {
    let fate = change(frame, |u| {
        let pins = u.pins + 1;
        (u.owner == domain && !u.orphan && pins <= frames::MAX_PINS).then_some(Uses { pins, ..u })
    });
    fate != Fate::Wrong
}

/// The core's use ends.
pub fn unpin(frame: Frame) -> Fate {
    change(frame, |u| {
        let pins = u.pins.checked_sub(1)?;
        Some(Uses { pins, ..u })
    })
}

/// A domain gives a frame of its own up, whoever else uses it.
pub fn abandon(frame: Frame, domain: DomainId) -> Fate {
    change(frame, |u| (u.owner == domain).then_some(Uses { orphan: true, ..u }))
}

/// Nobody but the owner uses the frame.
pub fn is_private(frame: Frame) -> bool {
    Uses::of(frame).is_some_and(Uses::is_private)
}

/// The source of table frames for one domain.
pub struct TablesOf(pub DomainId);

impl TableFrames for TablesOf {
    fn take(&mut self) -> Option<Frame> {
        // A claim is meant to be enough for all that a domain takes.
        let domain = table::get(self.0);
        let claim = domain.as_ref().map(|d| &d.memory.claim);
        take(Order::P4K, FrameState::Table { owner: self.0 }, claim)
    }

    fn give(&mut self, frame: Frame) {
        free(frame, Order::P4K);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::world;
    use std::vec::Vec;

    static NONE: Claim = Claim::none();

    #[test]
    fn blocks_split_and_merge_back() {
        let _world = world();
        let (_, before) = stats();
        let big = allocate(3, Order::P2M, &NONE).unwrap();
        assert_eq!(big.0 % 512, 0);
        let small: Vec<_> = (0..600).map_while(|_| allocate(3, Order::P4K, &NONE)).collect();
        assert_eq!(small.len(), 600);
        assert!(frames::is_owned_by(small[0], 3) && !frames::is_owned_by(small[0], 4));
        assert_eq!(stats().1, before - 512 - 600);
        small.into_iter().for_each(|f| free(f, Order::P4K));
        free(big, Order::P2M);
        assert_eq!(stats().1, before);
        // Merged again: what was taken once and given back makes large blocks.
        let all: Vec<_> = core::iter::from_fn(|| allocate(1, Order::P2M, &NONE)).collect();
        assert!(all.len() as u64 >= before / 512 - 2, "{}", all.len());
        all.into_iter().for_each(|f| free(f, Order::P2M));
    }

    #[test]
    fn mappings_and_pins_keep_an_abandoned_frame() {
        let _world = world();
        let frame = allocate(5, Order::P4K, &NONE).unwrap();
        assert!(refer(frame, 5, Kind::Map) && !refer(frame, 6, Kind::Map));
        assert!(refer(frame, 5, Kind::Grant) && !refer(frame, 6, Kind::Loan));
        assert!(pin(frame, 5) && !pin(frame, 6));
        assert_eq!(abandon(frame, 6), Fate::Wrong);
        assert_eq!(abandon(frame, 5), Fate::Shown);
        assert!(!refer(frame, 5, Kind::Map) && !pin(frame, 5));
        assert_eq!(unrefer(frame, Kind::Map), Fate::Hidden);
        assert_eq!(unrefer(frame, Kind::Map), Fate::Wrong);
        assert_eq!(unrefer(frame, Kind::Loan), Fate::Wrong);
        assert_eq!(unrefer(frame, Kind::Grant), Fate::Hidden);
        assert_eq!(unpin(frame), Fate::Nobodys);
        assert_eq!(unpin(frame), Fate::Wrong);
        free(frame, Order::P4K);
    }

    #[test]
    fn mappings_of_a_frame_have_a_limit() {
        let _world = world();
        let frame = allocate(5, Order::P4K, &NONE).unwrap();
        for kind in [Kind::Loan, Kind::Grant] {
            assert!((0..frames::MAX_GRANTS).all(|_| refer(frame, 5, kind)));
            assert!(!refer(frame, 5, kind));
        }
        for kind in [Kind::Loan, Kind::Grant] {
            assert!((0..frames::MAX_GRANTS).all(|_| unrefer(frame, kind) != Fate::Wrong));
        }
        assert!(is_private(frame));
        free(frame, Order::P4K);
    }

    #[test]
    fn a_claim_keeps_pages_from_others() {
        let _world = world();
        let (_, free_pages) = stats();
        let claim = Claim::none();
        assert!(!claim.set(free_pages + 1));
        assert!(claim.set(free_pages - 1) && claimed() == free_pages - 1);
        let other = Claim::none();
        assert!(!other.set(2) && other.set(1) && other.set(0));
        let one = allocate(3, Order::P4K, &other).unwrap();
        assert!(allocate(3, Order::P4K, &other).is_none());
        let mine = allocate(4, Order::P4K, &claim).unwrap();
        assert_eq!(claim.pages(), free_pages - 2);
        free(mine, Order::P4K);
        free(one, Order::P4K);
        assert!(claim.set(0) && claimed() == 0);
    }
}
