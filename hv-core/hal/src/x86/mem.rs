// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machine memory by frame number, through the direct map.
//!
//! Guests and devices may write the same memory at any time, so nothing here
//! makes a reference to plain data: bytes are copied by instructions of our
//! own, and what is shared is an atomic. A frame outside RAM is the core's own
//! bug and panics. A frame within the limit may still lie in a hole between
//! two ranges of RAM; touching it is a page fault, which panics as well.
// UNSAFETY: turns frame numbers into pointers of the direct map.
#![allow(unsafe_code)]

use crate::addr::Frame;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where physical address 0 is mapped.
pub(crate) const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
const PAGE: usize = hv_abi::PAGE_SIZE as usize;

/// First frame behind all RAM; set once the final tables are in use. Until
/// then the early tables map 4 GiB.
static LIMIT: AtomicU64 = AtomicU64::new(1 << 20);

/// Says how far the direct map reaches.
pub(super) fn set_limit(limit: Frame) {
    LIMIT.store(limit.0, Ordering::Relaxed);
}

/// First frame behind all RAM.
pub fn limit() -> Frame {
    Frame(LIMIT.load(Ordering::Relaxed))
}

/// The direct map's address of a run of frames, all of them below the limit.
pub(crate) fn pointer(first: Frame, pages: u64) -> *mut u8 {
    let end = first.0.checked_add(pages);
    assert!(
        end.is_some_and(|end| end <= limit().0),
        "frames {:#x}+{pages:#x} are not RAM",
        first.0
    );
    (DIRECT_MAP + first.address()) as *mut u8
}

/// The machine address of an object of the core: the heap lies in the image or
/// in the direct map, and each is one piece of machine memory.
pub(crate) fn machine_address<T>(object: &T) -> u64 {
    let at = &raw const *object as u64;
    if at >= super::paging::IMAGE_OFFSET {
        at - super::paging::IMAGE_OFFSET
    } else {
        at - DIRECT_MAP
    }
}

/// The address of a byte range within one page.
fn within(frame: Frame, offset: usize, len: usize) -> *mut u8 {
    let end = offset.checked_add(len);
    assert!(end.is_some_and(|end| end <= PAGE), "{len:#x} bytes at {offset:#x} leave their page");
    pointer(frame, 1).wrapping_add(offset)
}

/// Copies out of one page.
pub fn read(frame: Frame, offset: usize, buf: &mut [u8]) {
    let from = within(frame, offset, buf.len());
    // SAFETY: `from` is mapped for the whole length and `buf` is ours; the
    // direct map and the buffer may be the same memory only if a frame of the
    // core's own heap is named, and then the copy is still of plain bytes.
    unsafe { copy(from, buf.as_mut_ptr(), buf.len()) }
}

/// Copies into one page.
pub fn write(frame: Frame, offset: usize, buf: &[u8]) {
    let to = within(frame, offset, buf.len());
    // SAFETY: as in `read`; the frame is one that the kernel crate's frame
    // database gave to somebody, so no Rust object of the core lives there.
    unsafe { copy(buf.as_ptr(), to, buf.len()) }
}

/// A part of one page.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The page.
    pub frame: Frame,
    /// Where in it.
    pub offset: usize,
}

/// Copies from one page to another. Of parts that overlap in one page the
/// target has some mixture.
pub fn copy_between(from: Place, to: Place, len: usize) {
    let from = within(from.frame, from.offset, len);
    let to = within(to.frame, to.offset, len);
    // SAFETY: as in `read` and `write`: both ranges are mapped and no Rust
    // object of the core lives there.
    unsafe { copy(from, to, len) }
}

/// Copies bytes in a way that the compiler neither splits nor reasons about:
/// by words, then the rest by bytes. String instructions gain nothing on
/// lengths up to a page, and emulators take them one unit at a time.
///
/// # Safety
/// Both ranges are mapped, and `to` holds no object that Rust has borrowed.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller vouches for both ranges; nothing but the registers
    // named is changed.
    unsafe {
        asm!(
            "test {words}, {words}",
            "jz 3f",
            "2:",
            "mov {word}, [{from}]",
            "mov [{to}], {word}",
            "add {from}, 8",
            "add {to}, 8",
            "dec {words}",
            "jnz 2b",
            "3:",
            "test {bytes}, {bytes}",
            "jz 5f",
            "4:",
            "mov {word:l}, [{from}]",
            "mov [{to}], {word:l}",
            "inc {from}",
            "inc {to}",
            "dec {bytes}",
            "jnz 4b",
            "5:",
            words = inout(reg) len / 8 => _,
            bytes = inout(reg) len % 8 => _,
            word = out(reg) _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            options(nostack)
        );
    }
}

/// Zeroes whole pages.
pub fn zero(frame: Frame, pages: u64) {
    let to = pointer(frame, pages);
    // SAFETY: `pointer` has checked the run; as in `write`, the frames hold
    // no object of the core. A page is a multiple of the 64 bytes of a round.
    unsafe {
        asm!(
            "test {left}, {left}",
            "jz 3f",
            "2:",
            "mov [{to}], {zero}",
            "mov [{to} + 8], {zero}",
            "mov [{to} + 16], {zero}",
            "mov [{to} + 24], {zero}",
            "mov [{to} + 32], {zero}",
            "mov [{to} + 40], {zero}",
            "mov [{to} + 48], {zero}",
            "mov [{to} + 56], {zero}",
            "add {to}, 64",
            "sub {left}, 64",
            "jnz 2b",
            "3:",
            left = inout(reg) pages * hv_abi::PAGE_SIZE => _,
            to = inout(reg) to => _,
            zero = in(reg) 0u64,
            options(nostack)
        );
    }
}

/// A 32-bit word of a page.
pub fn word(frame: Frame, offset: usize) -> &'static AtomicU32 {
    assert!(offset.is_multiple_of(4), "a word at {offset:#x}");
    let at = within(frame, offset, 4).cast();
    // SAFETY: aligned, mapped for good (the direct map is never changed), and
    // accessed as an atomic only.
    unsafe { AtomicU32::from_ptr(at) }
}

/// A page as a table of 64-bit entries.
pub fn table(frame: Frame) -> &'static [AtomicU64; 512] {
    let at = pointer(frame, 1).cast::<[AtomicU64; 512]>();
    // SAFETY: as in `word`; an array of atomics is as large as the page.
    unsafe { &*at }
}
