// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of the scripted machine: 64 MiB from address 0, made page by page
//! when first touched and never freed, so that references stay good.

use crate::addr::Frame;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::boxed::Box;
use std::sync::OnceLock;

/// Frames of RAM.
pub const FRAMES: u64 = 16 * 1024;

/// A page as 64-bit entries of a table and as 32-bit words. No page is used
/// both ways.
struct Page([AtomicU64; 512], [AtomicU32; 1024]);

/// One arena for the process, as the frame database above is one: tests that
/// touch memory take turns.
static PAGES: [OnceLock<Box<Page>>; FRAMES as usize] = [const { OnceLock::new() }; FRAMES as usize];

fn page(frame: Frame) -> &'static Page {
    assert!(frame.0 < FRAMES, "frame {:#x} is not RAM", frame.0);
    PAGES[frame.0 as usize].get_or_init(|| {
        Box::new(Page(
            core::array::from_fn(|_| AtomicU64::new(0)),
            core::array::from_fn(|_| AtomicU32::new(0)),
        ))
    })
}

/// First frame behind all RAM.
pub fn limit() -> Frame {
    Frame(FRAMES)
}

/// The words that hold these bytes of a page, each with the part of it.
fn words(
    frame: Frame,
    offset: usize,
    len: usize,
) -> impl Iterator<Item = (usize, &'static AtomicU32)> {
    assert!(offset + len <= 4096);
    (offset..offset + len).map(move |at| (at % 4, &page(frame).1[at / 4]))
}

/// Copies out of one page.
pub fn read(frame: Frame, offset: usize, buf: &mut [u8]) {
    let words = words(frame, offset, buf.len());
    for (byte, (part, word)) in buf.iter_mut().zip(words) {
        *byte = word.load(Ordering::Relaxed).to_le_bytes()[part];
    }
}

/// Copies into one page.
pub fn write(frame: Frame, offset: usize, buf: &[u8]) {
    for (byte, (part, word)) in buf.iter().zip(words(frame, offset, buf.len())) {
        let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
        bytes[part] = *byte;
        word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// A part of one page.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The page.
    pub frame: Frame,
    /// Where in it.
    pub offset: usize,
}

/// Copies from one page to another.
pub fn copy_between(from: Place, to: Place, len: usize) {
    let mut bytes = [0; 4096];
    read(from.frame, from.offset, &mut bytes[..len]);
    write(to.frame, to.offset, &bytes[..len]);
}

/// Zeroes whole pages.
pub fn zero(frame: Frame, pages: u64) {
    for i in frame.0..frame.0 + pages {
        if let Some(page) = PAGES.get(i as usize).and_then(OnceLock::get) {
            page.0.iter().for_each(|w| w.store(0, Ordering::Relaxed));
            page.1.iter().for_each(|w| w.store(0, Ordering::Relaxed));
        }
    }
}

/// A 32-bit word of a page.
pub fn word(frame: Frame, offset: usize) -> &'static AtomicU32 {
    assert!(offset.is_multiple_of(4) && offset < 4096);
    &page(frame).1[offset / 4]
}

/// A page as a table of 64-bit entries.
pub fn table(frame: Frame) -> &'static [AtomicU64; 512] {
    &page(frame).0
}
