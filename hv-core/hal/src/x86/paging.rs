// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's own address space.
//!
//! | from | what | access |
//! |---|---|---|
//! | ffff_8000_0000_0000 | all RAM, 1:1 (`mem::DIRECT_MAP`) | RW |
//! | ffff_fd00_0000_0000 | windows: device registers, firmware tables | RW or R |
//! | ffff_fe00_0000_0000 | stacks, each above an unmapped page | RW |
//! | ffff_ffff_8020_0000 | the image: text RX, constants R, data RW | |
//!
//! Nothing is both writable and executable, nothing is mapped in the lower
//! half. Mappings are only ever added, during boot, so no TLB needs a flush.
// UNSAFETY: switches to the tables built here.
#![allow(unsafe_code)]

use super::{boot, cpu, mem};
use crate::addr::{Frame, Order};
use crate::bootinfo::{Region, RegionKind};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;
use x86_64::PhysAddr;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

const WINDOWS: u64 = 0xffff_fd00_0000_0000;
const STACKS: u64 = 0xffff_fe00_0000_0000;
/// The image's link address less its physical one.
pub(super) const IMAGE_OFFSET: u64 = 0xffff_ffff_8000_0000;

/// Room between the start of one stack and the next, guard page included.
const STACK_STRIDE: u64 = 128 << 10;
/// Usable bytes of a stack.
const STACK_SIZE: u64 = 64 << 10;

/// Bits of an entry (SDM vol. 3, 4.5; APM vol. 2, 5.4).
mod bit {
    pub const PRESENT: u64 = 1;
    pub const WRITE: u64 = 1 << 1;
    pub const UNCACHED: u64 = 1 << 3 | 1 << 4;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const LARGE: u64 = 1 << 7;
    pub const GLOBAL: u64 = 1 << 8;
    pub const NO_EXECUTE: u64 = 1 << 63;
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// What a mapping allows.
#[derive(Clone, Copy)]
enum Access {
    Read,
    ReadWrite,
    ReadExecute,
    Device,
}

impl Access {
    const fn bits(self) -> u64 {
        let common = bit::PRESENT | bit::ACCESSED | bit::DIRTY | bit::GLOBAL;
        match self {
            Access::Read => common | bit::NO_EXECUTE,
            Access::ReadWrite => common | bit::WRITE | bit::NO_EXECUTE,
            Access::ReadExecute => common,
            Access::Device => common | bit::WRITE | bit::UNCACHED | bit::NO_EXECUTE,
        }
    }
}

unsafe extern "C" {
    static text_start: u8;
    static text_end: u8;
    static rodata_start: u8;
    static rodata_end: u8;
    static data_start: u8;
    static data_end: u8;
}

/// The top table's machine address; 0 before [`init`].
static ROOT: AtomicU64 = AtomicU64::new(0);
/// Held while mappings are added; counts windows (in pages) and stacks.
static USED: Mutex<(u64, u64)> = Mutex::new((0, 0));

/// Builds the final tables and goes over to them.
pub(super) fn init(memory: &[Region]) {
    let root = boot::early_alloc(1, 1);
    let ram = memory.iter().filter(|r| r.kind == RegionKind::Ram);
    let mut limit = 0;
    for region in ram {
        let len = region.end - region.start;
        map(root, mem::DIRECT_MAP + region.start, region.start, len, Access::ReadWrite);
        limit = limit.max(region.end);
    }
    let parts = [
        (&raw const text_start, &raw const text_end, Access::ReadExecute),
        (&raw const rodata_start, &raw const rodata_end, Access::Read),
        (&raw const data_start, &raw const data_end, Access::ReadWrite),
    ];
    for (start, end, access) in parts {
        let (start, end) = (start as u64, end as u64);
        map(root, start, start - IMAGE_OFFSET, end - start, access);
    }
    ROOT.store(root.address(), Ordering::Release);
    cpu::setup();
    switch();
    mem::set_limit(Frame::holding(limit));
}

/// Machine address of the top table.
pub(super) fn root() -> Frame {
    Frame::holding(ROOT.load(Ordering::Acquire))
}

/// Puts the final tables into use on the running CPU.
pub(super) fn switch() {
    let root = PhysFrame::containing_address(PhysAddr::new(root().address()));
    // SAFETY: the tables map the image as it is linked and all RAM at the
    // direct map; the stack lies in one of the two, or in `STACKS`.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
}

/// Maps `len` bytes in the largest leaves that fit. All but the last level of
/// tables is made of frames from `early_alloc`.
fn map(root: Frame, virt: u64, phys: u64, len: u64, access: Access) {
    let mut done = 0;
    while done < len {
        let (virt, phys, left) = (virt + done, phys + done, len - done);
        let fits =
            |order: Order| (virt | phys).is_multiple_of(order.bytes()) && left >= order.bytes();
        let order = if cpu::features().pages_1g && fits(Order::P1G) {
            Order::P1G
        } else if fits(Order::P2M) {
            Order::P2M
        } else {
            Order::P4K
        };
        map_leaf(root, virt, phys, order, access);
        done += order.bytes();
    }
}

fn map_leaf(root: Frame, virt: u64, phys: u64, order: Order, access: Access) {
    let (last, large) = match order {
        Order::P4K => (12, 0),
        Order::P2M => (21, bit::LARGE),
        Order::P1G => (30, bit::LARGE),
    };
    let mut table = root;
    let mut shift = 39;
    loop {
        // Nine bits index a table of 512.
        let entry = &mem::table(table)[(virt >> shift & 0x1ff) as usize];
        let old = entry.load(Ordering::Relaxed);
        if shift == last {
            assert!(old & bit::PRESENT == 0, "{virt:#x} is mapped already");
            entry.store(phys | access.bits() | large, Ordering::Release);
            return;
        }
        assert!(old & bit::LARGE == 0, "{virt:#x} is mapped already by a larger page");
        table = if old & bit::PRESENT == 0 {
            let next = boot::early_alloc(1, 1);
            let bits = bit::PRESENT | bit::WRITE | bit::ACCESSED;
            entry.store(next.address() | bits, Ordering::Release);
            next
        } else {
            Frame::holding(old & bit::ADDRESS)
        };
        shift -= 9;
    }
}

/// Maps a range of machine addresses that is no RAM, for good, and returns
/// where: device registers uncached, firmware's tables read-only.
pub(super) fn window(phys: u64, len: u64, device: bool) -> *mut u8 {
    let access = if device { Access::Device } else { Access::Read };
    let page = hv_abi::PAGE_SIZE;
    let first = phys & !(page - 1);
    let pages = (phys + len - first).div_ceil(page);
    let mut used = USED.lock();
    let virt = WINDOWS + used.0 * page;
    // One page stays unmapped between two windows.
    used.0 += pages + 1;
    map_small(virt, first, pages, access);
    (virt + (phys - first)) as *mut u8
}

fn map_small(virt: u64, phys: u64, pages: u64, access: Access) {
    for i in 0..pages {
        let at = i * hv_abi::PAGE_SIZE;
        map_leaf(root(), virt + at, phys + at, Order::P4K, access);
    }
}

/// Makes a stack above an unmapped page; returns its top.
pub(super) fn stack() -> u64 {
    let mut used = USED.lock();
    let bottom = STACKS + used.1 * STACK_STRIDE + (STACK_STRIDE - STACK_SIZE);
    used.1 += 1;
    let pages = STACK_SIZE / hv_abi::PAGE_SIZE;
    let frames = boot::early_alloc(pages, 1);
    map_small(bottom, frames.address(), pages, Access::ReadWrite);
    bottom + STACK_SIZE
}

/// The address lies in the unmapped room below a stack.
pub(super) fn below_stack(address: u64) -> bool {
    let stacks = STACKS..STACKS + USED.try_lock().map_or(0, |used| used.1) * STACK_STRIDE;
    stacks.contains(&address) && (address - STACKS) % STACK_STRIDE < STACK_STRIDE - STACK_SIZE
}

/// A copy of the top table that maps one low page 1:1 as well, writable and
/// executable: what a CPU needs on its way from real mode. Nobody uses it
/// for longer than that.
pub(super) fn root_with_low_page(low: u64) -> Frame {
    let copy = boot::early_alloc(1, 1);
    for (to, from) in mem::table(copy).iter().zip(mem::table(root())) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    let access = Access::ReadExecute;
    map_leaf(copy, low, low, Order::P4K, access);
    copy
}
