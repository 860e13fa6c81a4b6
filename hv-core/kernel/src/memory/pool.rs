// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pool: a buddy allocator over the frame database, in blocks of 4 KiB to
//! 1 GiB. What is handed out is zero. Who gives frames back scrubs them first,
//! outside the lock; blocks that were never handed out still hold what the
//! firmware left and are scrubbed when they are first taken, so that the boot
//! need not touch all memory. The two kinds are not merged.

use super::frames::{self, FrameState, NIL};
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
}

static POOL: Mutex<Pool> = Mutex::new(Pool { heads: [NIL; ORDERS], free: 0, total: 0 });

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

/// Takes one zeroed leaf as memory of a domain.
pub fn allocate(owner: DomainId, order: Order) -> Option<Frame> {
    let state = FrameState::Owned { owner, maps: 0, pins: 0, orphan: false };
    take(order, state)
}

fn take(order: Order, state: FrameState) -> Option<Frame> {
    let (frame, dirty) = {
        let mut pool = POOL.lock();
        let (frame, dirty) = pool.take(log2(order))?;
        pool.free -= order.pages();
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
    let Some(frame) = take(Order::P2M, FrameState::Core) else {
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
    /// Still mapped elsewhere.
    Mapped,
    /// Mapped nowhere else; its owner, or the core for it, still has it.
    Unmapped,
    /// Nobody has it: flush, then [`free`] it.
    Nobodys,
    /// It was not in the state for this.
    Wrong,
}

/// Uses of a domain's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// The domain.
    pub owner: DomainId,
    /// Foreign mappings.
    pub maps: u32,
    /// The core's own uses.
    pub pins: u32,
    /// Given up by the domain.
    pub orphan: bool,
}

impl Uses {
    /// The uses of a frame, when it is some domain's memory.
    pub fn of(frame: Frame) -> Option<Self> {
        match frames::state(frame) {
            FrameState::Owned { owner, maps, pins, orphan } => {
                Some(Self { owner, maps, pins, orphan })
            }
            _ => None,
        }
    }

    fn fate(self) -> Fate {
        match (self.maps, self.pins, self.orphan) {
            (0, 0, true) => Fate::Nobodys,
            (0, _, _) => Fate::Unmapped,
            _ => Fate::Mapped,
        }
    }
}

/// Changes a frame's uses under the pool's lock; `None` from `f` refuses.
fn change(frame: Frame, f: impl FnOnce(Uses) -> Option<Uses>) -> Fate {
    let _pool = POOL.lock();
    let Some(uses) = Uses::of(frame).and_then(f) else {
        return Fate::Wrong;
    };
    frames::set(
        frame,
        FrameState::Owned {
            owner: uses.owner,
            maps: uses.maps,
            pins: uses.pins,
            orphan: uses.orphan,
        },
    );
    uses.fate()
}

/// Counts one more foreign mapping of a domain's frame; false when it is not
/// that domain's or the count is full.
pub fn refer(frame: Frame, domain: DomainId) -> bool {
    let fate = change(frame, |u| {
        let maps = u.maps.checked_add(1)?;
        (u.owner == domain && !u.orphan).then_some(Uses { maps, ..u })
    });
    fate != Fate::Wrong
}

/// Takes a foreign mapping back.
pub fn unrefer(frame: Frame) -> Fate {
    change(frame, |u| {
        let maps = u.maps.checked_sub(1)?;
        Some(Uses { maps, ..u })
    })
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

/// A domain gives a frame up, whoever else uses it.
pub fn abandon(frame: Frame) -> Fate {
    change(frame, |u| Some(Uses { orphan: true, ..u }))
}

/// Nobody but the owner uses the frame.
pub fn is_private(frame: Frame) -> bool {
    Uses::of(frame).is_some_and(|u| u.maps == 0 && u.pins == 0)
}

/// The source of table frames for one domain.
pub struct TablesOf(pub DomainId);

impl TableFrames for TablesOf {
    fn take(&mut self) -> Option<Frame> {
        take(Order::P4K, FrameState::Table { owner: self.0 })
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

    #[test]
    fn blocks_split_and_merge_back() {
        let _world = world();
        let (_, before) = stats();
        let big = allocate(3, Order::P2M).unwrap();
        assert_eq!(big.0 % 512, 0);
        let small: Vec<_> = (0..600).map_while(|_| allocate(3, Order::P4K)).collect();
        assert_eq!(small.len(), 600);
        assert!(frames::is_owned_by(small[0], 3) && !frames::is_owned_by(small[0], 4));
        assert_eq!(stats().1, before - 512 - 600);
        small.into_iter().for_each(|f| free(f, Order::P4K));
        free(big, Order::P2M);
        assert_eq!(stats().1, before);
        // Merged again: what was taken once and given back makes large blocks.
        let all: Vec<_> = core::iter::from_fn(|| allocate(1, Order::P2M)).collect();
        assert!(all.len() as u64 >= before / 512 - 2, "{}", all.len());
        all.into_iter().for_each(|f| free(f, Order::P2M));
    }

    #[test]
    fn mappings_and_pins_keep_an_abandoned_frame() {
        let _world = world();
        let frame = allocate(5, Order::P4K).unwrap();
        assert!(refer(frame, 5) && !refer(frame, 6));
        assert!(pin(frame, 5) && !pin(frame, 6));
        assert_eq!(abandon(frame), Fate::Mapped);
        assert!(!refer(frame, 5) && !pin(frame, 5));
        assert_eq!(unrefer(frame), Fate::Unmapped);
        assert_eq!(unrefer(frame), Fate::Wrong);
        assert_eq!(unpin(frame), Fate::Nobodys);
        assert_eq!(unpin(frame), Fate::Wrong);
        free(frame, Order::P4K);
    }
}
