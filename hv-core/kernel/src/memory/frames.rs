// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frame database: one 64-bit word a machine frame, with exactly one
//! state and owner.
//!
//! Bits 63:60 hold the state. *Owned* and *Table*: bit 59 orphan, 58:48
//! pins, 47:36 owner, 35:20 foreign mappings, 19:10 the control domain's
//! mappings by grants, 9:0 guests' mappings by grants. *Free head*: bits 59
//! dirty, 58:54 order, 53:27 previous and 26:0 next head of the same order.
//! All changes are made under the pool's lock; single words are read without
//! it.

use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::DomainId;
use hv_hal::addr::Frame;
use hv_hal::{boot, mem};
use spin::Once;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameState {
    /// No RAM, or RAM that nobody may use.
    Reserved,
    /// The core's own.
    Core,
    /// First frame of a free block of 2^order frames, linked in a list.
    FreeHead {
        /// log2 of the block's frames.
        order: u32,
        /// Its contents are the firmware's: it is scrubbed when it is taken.
        dirty: bool,
        /// Previous head, or [`NIL`].
        previous: u64,
        /// Next head, or [`NIL`].
        next: u64,
    },
    /// Another frame of a free block.
    FreeTail,
    /// Memory of a domain.
    Owned {
        /// The domain.
        owner: DomainId,
        /// Foreign mappings: the control domain's MemoryMap.
        maps: u32,
        /// The control domain's mappings by grants.
        loans: u32,
        /// Guests' mappings by grants.
        grants: u32,
        /// Uses by the core itself: event words and rings.
        pins: u32,
        /// The domain gave it up; it is freed with its last reference.
        orphan: bool,
    },
    /// The core's, for this domain: stage 2 tables, vCPU pages.
    Table {
        /// The domain.
        owner: DomainId,
    },
}

/// No frame, in a link.
pub const NIL: u64 = (1 << 27) - 1;
/// The database covers frames below this (512 GiB).
pub const MAX_FRAMES: u64 = NIL;

/// A frame can be pinned this often.
pub const MAX_PINS: u32 = (1 << 11) - 1;
/// A frame can have so many foreign mappings.
pub const MAX_MAPS: u32 = (1 << 16) - 1;
/// A frame can have so many mappings by grants, of either kind.
pub const MAX_GRANTS: u32 = (1 << 10) - 1;
const _: () = assert!(hv_abi::MAX_DOMAINS <= 1 << 12);

const LINK: u64 = NIL;

impl FrameState {
    /// Memory of a domain that nobody else uses.
    pub const fn private(owner: DomainId) -> Self {
        FrameState::Owned { owner, maps: 0, loans: 0, grants: 0, pins: 0, orphan: false }
    }

    fn encode(self) -> u64 {
        match self {
            FrameState::Reserved => 0,
            FrameState::Core => 1 << 60,
            FrameState::FreeHead { order, dirty, previous, next } => {
                2 << 60
                    | u64::from(dirty) << 59
                    | u64::from(order & 31) << 54
                    | (previous & LINK) << 27
                    | next & LINK
            }
            FrameState::FreeTail => 3 << 60,
            FrameState::Owned { owner, maps, loans, grants, pins, orphan } => {
                4 << 60
                    | u64::from(orphan) << 59
                    | u64::from(pins & MAX_PINS) << 48
                    | u64::from(owner) << 36
                    | u64::from(maps & MAX_MAPS) << 20
                    | u64::from(loans & MAX_GRANTS) << 10
                    | u64::from(grants & MAX_GRANTS)
            }
            FrameState::Table { owner } => 5 << 60 | u64::from(owner) << 36,
        }
    }

    fn decode(word: u64) -> Self {
        let owner = (word >> 36 & 0xfff) as DomainId;
        match word >> 60 {
            1 => FrameState::Core,
            2 => FrameState::FreeHead {
                order: (word >> 54 & 31) as u32,
                dirty: word >> 59 & 1 == 1,
                previous: word >> 27 & LINK,
                next: word & LINK,
            },
            3 => FrameState::FreeTail,
            4 => FrameState::Owned {
                owner,
                maps: (word >> 20) as u32 & MAX_MAPS,
                loans: (word >> 10) as u32 & MAX_GRANTS,
                grants: word as u32 & MAX_GRANTS,
                pins: (word >> 48) as u32 & MAX_PINS,
                orphan: word >> 59 & 1 == 1,
            },
            5 => FrameState::Table { owner },
            _ => FrameState::Reserved,
        }
    }
}

/// Where the words are: a run of frames, 512 words each.
#[derive(Clone, Copy)]
struct Database {
    base: Frame,
    frames: u64,
}

static DATABASE: Once<Database> = Once::new();

/// Frames of memory that the database of `frames` frames takes.
pub fn pages_needed(frames: u64) -> u64 {
    frames.div_ceil(512)
}

/// Makes the database, every frame *Reserved*; called once, at boot.
pub fn init() {
    DATABASE.call_once(|| {
        let frames = mem::limit().0.min(MAX_FRAMES);
        let base = boot::early_alloc(pages_needed(frames), 1);
        Database { base, frames }
    });
}

fn word(frame: Frame) -> Option<&'static AtomicU64> {
    let database = DATABASE.get()?;
    if frame.0 >= database.frames {
        return None;
    }
    let page = database.base.plus(frame.0 / 512);
    mem::table(page).get((frame.0 % 512) as usize)
}

/// Number of frames the database covers.
pub fn count() -> u64 {
    DATABASE.get().map_or(0, |d| d.frames)
}

/// What the frame is; frames beyond RAM are *Reserved*.
pub fn state(frame: Frame) -> FrameState {
    word(frame).map_or(FrameState::Reserved, |w| FrameState::decode(w.load(Ordering::Acquire)))
}

/// Sets it. Only the pool, under its lock, and the boot call this.
pub(super) fn set(frame: Frame, state: FrameState) {
    if let Some(word) = word(frame) {
        word.store(state.encode(), Ordering::Release);
    }
}

/// For the boot: marks a range of RAM as the core's or a domain's.
pub fn claim(start: u64, end: u64, state: FrameState) {
    for frame in start >> 12..end >> 12 {
        set(Frame(frame), state);
    }
}

/// The frame is memory of this domain, not given up.
pub fn is_owned_by(frame: Frame, domain: DomainId) -> bool {
    matches!(state(frame), FrameState::Owned { owner, orphan: false, .. } if owner == domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for state in [
            FrameState::Reserved,
            FrameState::Core,
            FrameState::FreeHead { order: 18, dirty: true, previous: NIL, next: 12345 },
            FrameState::FreeTail,
            FrameState::Owned {
                owner: 4095,
                maps: MAX_MAPS,
                loans: MAX_GRANTS,
                grants: MAX_GRANTS,
                pins: MAX_PINS,
                orphan: true,
            },
            FrameState::Owned { owner: 5, maps: 1, loans: 2, grants: 3, pins: 4, orphan: false },
            FrameState::private(0),
            FrameState::Table { owner: 7 },
        ] {
            assert_eq!(FrameState::decode(state.encode()), state);
        }
    }
}
