// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of the scripted machine: 64 MiB from address 0, made page by page
//! when first touched and never freed, so that references stay good.

use crate::addr::Frame;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::Mutex;
use std::boxed::Box;
use std::collections::HashMap;

/// Frames of RAM.
pub const FRAMES: u64 = 16 * 1024;

/// A page as 32-bit words, the smallest unit anything uses atomically.
struct Page([AtomicU64; 512], [AtomicU32; 1024]);

/// One arena for the process, as the frame database above is one: tests that
/// touch memory take turns.
static PAGES: Mutex<Option<HashMap<u64, &'static Page>>> = Mutex::new(None);

fn page(frame: Frame) -> &'static Page {
    assert!(frame.0 < FRAMES, "frame {:#x} is not RAM", frame.0);
    let mut pages = PAGES.lock();
    let pages = pages.get_or_insert_with(HashMap::new);
    pages.entry(frame.0).or_insert_with(|| {
        Box::leak(Box::new(Page(
            core::array::from_fn(|_| AtomicU64::new(0)),
            core::array::from_fn(|_| AtomicU32::new(0)),
        )))
    })
}

/// First frame behind all RAM.
pub fn limit() -> Frame {
    Frame(FRAMES)
}

/// Copies out of one page. Bytes and words share storage (`word`); tables are
/// apart from them, as no page is used both ways.
pub fn read(frame: Frame, offset: usize, buf: &mut [u8]) {
    assert!(offset + buf.len() <= 4096);
    for (i, byte) in buf.iter_mut().enumerate() {
        let at = offset + i;
        let word = page(frame).1[at / 4].load(Ordering::Relaxed);
        *byte = word.to_le_bytes()[at % 4];
    }
}

/// Copies into one page.
pub fn write(frame: Frame, offset: usize, buf: &[u8]) {
    assert!(offset + buf.len() <= 4096);
    for (i, byte) in buf.iter().enumerate() {
        let at = offset + i;
        let cell = &page(frame).1[at / 4];
        let mut bytes = cell.load(Ordering::Relaxed).to_le_bytes();
        bytes[at % 4] = *byte;
        cell.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// Zeroes whole pages.
pub fn zero(frame: Frame, pages: u64) {
    for i in 0..pages {
        let known = PAGES.lock().as_ref().is_some_and(|pages| pages.contains_key(&(frame.0 + i)));
        if known {
            let page = page(frame.plus(i));
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
