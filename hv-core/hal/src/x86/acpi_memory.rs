// SPDX-License-Identifier: MIT OR Apache-2.0
//! Firmware's tables by machine address, through read-only windows: tables
//! lie in memory that is not RAM by the map, anywhere in the address space.
// UNSAFETY: reads through windows.
#![allow(unsafe_code)]

use super::{cpu, paging};
use crate::bootinfo::Physical;
use core::cell::RefCell;

/// Bytes that a window shows; tables of one firmware lie close together.
const WINDOW: u64 = 64 << 10;
/// Windows made at most; firmware that scatters its tables more is refused.
const MAX_WINDOWS: usize = 64;

/// Windows made so far: machine address and where it is mapped.
pub(super) struct Windows(RefCell<alloc::vec::Vec<(u64, *mut u8)>>);

impl Windows {
    pub(super) fn new() -> Self {
        Self(RefCell::new(alloc::vec::Vec::new()))
    }

    /// Where the window that begins at `base` is mapped.
    fn at(&self, base: u64) -> Option<*mut u8> {
        let mut windows = self.0.borrow_mut();
        if let Some(known) = windows.iter().find(|w| w.0 == base) {
            return Some(known.1);
        }
        let in_space = base >> cpu::features().physical_bits == 0;
        if !in_space || windows.len() == MAX_WINDOWS {
            return None;
        }
        let at = paging::window(base, WINDOW, false);
        windows.push((base, at));
        Some(at)
    }
}

impl Physical for Windows {
    fn copy(&self, address: u64, out: &mut [u8]) -> bool {
        if address.checked_add(out.len() as u64).is_none() {
            return false;
        }
        for (i, byte) in out.iter_mut().enumerate() {
            let address = address + i as u64;
            let Some(window) = self.at(address & !(WINDOW - 1)) else { return false };
            let at = window.wrapping_add((address & (WINDOW - 1)) as usize);
            // SAFETY: within the window, which is mapped for good; an address
            // without memory reads as ones.
            *byte = unsafe { at.read_volatile() };
        }
        true
    }
}
