// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets which machine memory: the core what it has taken already, guests
//! a pool from the top of RAM in 2 MiB pieces, the control domain the rest.

use crate::memory::frames::{self, FrameState};
use crate::memory::pool;
use alloc::vec::Vec;
use hv_abi::DOM_CONTROL;
use hv_hal::addr::Frame;
use hv_hal::boot::{self, BootInfo, RegionKind};
use spin::Once;

const MIB: u64 = 1 << 20;
const PIECE: u64 = 2 * MIB;
/// Less than this and the control domain's kernel would not come up.
pub const DOM0_MIN: u64 = 64 * MIB;
/// What it gets at least when nobody says.
const DOM0_DEFAULT_MIN: u64 = 256 * MIB;

/// A half-open range of machine addresses.
pub type Range = (u64, u64);

/// The split.
pub struct Layout {
    /// All RAM.
    pub ram: Vec<Range>,
    /// The core's.
    pub core: Vec<Range>,
    /// The pool's, in order of address.
    pub pool: Vec<Range>,
    /// The control domain's, in order of address.
    pub control: Vec<Range>,
}

static LAYOUT: Once<Layout> = Once::new();

/// Bytes in ranges.
pub fn bytes(ranges: &[Range]) -> u64 {
    ranges.iter().map(|r| r.1 - r.0).sum()
}

/// `ranges` without `hole`.
pub fn subtract(ranges: &[Range], hole: Range) -> Vec<Range> {
    ranges
        .iter()
        .flat_map(|r| [(r.0, r.1.min(hole.0)), (r.0.max(hole.1), r.1)])
        .filter(|r| r.0 < r.1)
        .collect()
}

/// Takes up to `wanted` bytes of aligned pieces from the top of `free`.
fn take_from_top(free: &[Range], wanted: u64) -> Vec<Range> {
    let mut left = wanted / PIECE * PIECE;
    let mut taken = Vec::new();
    for range in free.iter().rev() {
        let (start, end) = (range.0.next_multiple_of(PIECE), range.1 / PIECE * PIECE);
        let size = end.saturating_sub(start).min(left);
        if size > 0 {
            taken.push((end - size, end));
            left -= size;
        }
    }
    taken.reverse();
    taken
}

/// Splits the machine's memory; the error says what the administrator has
/// to change.
pub fn split(boot: &BootInfo, dom0_mem: Option<u64>) -> Result<Layout, &'static str> {
    let ram: Vec<Range> = boot
        .memory
        .iter()
        .filter(|r| r.kind == RegionKind::Ram)
        .map(|r| (r.start.next_multiple_of(4096), r.end / 4096 * 4096))
        .filter(|r| r.0 < r.1)
        .collect();
    let mut core = Vec::new();
    boot::core_ranges(&mut |start, end| core.push((start, end)));
    let free = core.iter().fold(ram.clone(), |free, hole| subtract(&free, *hole));
    let modules =
        boot.modules.iter().map(|m| (m.start / 4096 * 4096, m.end.next_multiple_of(4096)));
    let loose = modules.clone().fold(free.clone(), |free, hole| subtract(&free, hole));
    let total = bytes(&free);
    let dom0 = dom0_mem.unwrap_or((total / 2).max(DOM0_DEFAULT_MIN));
    if total < DOM0_MIN + PIECE {
        return Err("the machine has too little memory: 96 MiB is the least");
    }
    if dom0 < DOM0_MIN {
        return Err("dom0_mem is too small: 64M is the least");
    }
    if dom0_mem.is_some() && dom0 > total - PIECE {
        return Err("dom0_mem leaves no memory for guests: give less, or give the machine more");
    }
    let pool = take_from_top(&loose, total.saturating_sub(dom0).max(PIECE));
    let control = pool.iter().fold(free, |free, hole| subtract(&free, *hole));
    Ok(Layout { ram, core, pool, control })
}

/// Enters the split into the frame database and fills the pool.
pub fn commit(layout: Layout) -> &'static Layout {
    let own = FrameState::private(DOM_CONTROL);
    for range in &layout.control {
        frames::claim(range.0, range.1, own);
    }
    for range in &layout.core {
        frames::claim(range.0, range.1, FrameState::Core);
    }
    for range in &layout.pool {
        let (first, pages) = (Frame::holding(range.0), (range.1 - range.0) >> 12);
        pool::donate(first, pages);
    }
    LAYOUT.call_once(|| layout)
}

/// One of the pool's ranges.
pub fn pool_range(index: usize) -> Option<Range> {
    LAYOUT.get()?.pool.get(index).copied()
}

/// Pages of RAM in the machine.
pub fn ram_pages() -> u64 {
    LAYOUT.get().map_or(0, |l| bytes(&l.ram) >> 12)
}

/// Pages the core has taken.
pub fn core_pages() -> u64 {
    LAYOUT.get().map_or(0, |l| bytes(&l.core) >> 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_split_ranges() {
        assert_eq!(subtract(&[(0, 10)], (3, 5)), [(0, 3), (5, 10)]);
        assert_eq!(subtract(&[(0, 10)], (0, 10)), []);
        assert_eq!(subtract(&[(0, 10), (20, 30)], (5, 25)), [(0, 5), (25, 30)]);
        assert_eq!(subtract(&[(5, 10)], (0, 5)), [(5, 10)]);
    }

    #[test]
    fn the_pool_is_aligned_and_from_the_top() {
        let free = [(0, 5 * MIB), (9 * MIB + 4096, 64 * MIB - 4096)];
        assert_eq!(take_from_top(&free, 9 * MIB), [(54 * MIB, 62 * MIB)]);
        let all = take_from_top(&free, 1 << 30);
        assert_eq!(all, [(0, 4 * MIB), (10 * MIB, 62 * MIB)]);
    }
}
