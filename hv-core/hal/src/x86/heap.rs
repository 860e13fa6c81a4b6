// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's heap: `talc` over a static arena, enlarged by the kernel crate
//! with frames of its own ([`extend`]).
//!
//! The heap is for bookkeeping; frames of domains never come from it. Who
//! allocates for a guest asks [`has_room`] first, so that a refusal takes the
//! place of a failed allocation.
// UNSAFETY: hands memory to the allocator.
#![allow(unsafe_code)]

use crate::addr::Frame;
use talc::{TalcLock, source::Claim};

/// Bytes of the first arena.
const ARENA: usize = 2 << 20;
/// Bytes that [`has_room`] keeps back for the core's own needs.
const RESERVE: usize = 256 << 10;

/// A ticketless spin lock of the kind talc asks for.
type RawLock = spin::mutex::SpinMutex<()>;

#[global_allocator]
static HEAP: TalcLock<RawLock, Claim> = TalcLock::new({
    static mut FIRST: [u8; ARENA] = [0; ARENA];
    // SAFETY: the arena is named nowhere else, so it is the allocator's own.
    unsafe { Claim::array(&raw mut FIRST) }
});

/// Bytes allocated, and bytes the heap has in all.
pub fn stats() -> (u64, u64) {
    let heap = HEAP.lock();
    let counters = heap.counters();
    (counters.allocated_bytes as u64, counters.claimed_bytes as u64)
}

/// Gives `pages` frames from `first` to the heap, for good.
pub fn extend(first: Frame, pages: u64) {
    let base = super::mem::pointer(first, pages);
    // SAFETY: the direct map covers the whole run (`pointer` checks it), and
    // the caller has given the frames away.
    let claimed = unsafe { HEAP.lock().claim(base, (pages << 12) as usize) };
    if claimed.is_none() {
        log::warn!("heap: a run of {pages} pages is too small to use");
    }
}

/// An allocation of this size would succeed and leave the core its reserve.
pub fn has_room(bytes: usize) -> bool {
    let heap = HEAP.lock();
    heap.counters().available_bytes >= bytes.saturating_add(RESERVE)
}
