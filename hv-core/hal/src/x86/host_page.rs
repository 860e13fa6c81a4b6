// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that the CPU itself reads or writes on the core's behalf: areas for
//! the host's state, permission maps. They come from the heap, at start, and
//! are never freed, for a CPU may use them at any time.
// UNSAFETY: allocates by layout and makes a slice of what it got.
#![allow(unsafe_code)]

use super::mem;
use alloc::alloc::{Layout, alloc_zeroed, handle_alloc_error};

const PAGE: usize = hv_abi::PAGE_SIZE as usize;

/// A zeroed run of pages, contiguous in machine memory.
pub struct HostPages {
    bytes: &'static mut [u8],
}

impl HostPages {
    /// Allocates them; without memory for these the core can't run.
    pub fn new(pages: usize) -> Self {
        let Ok(layout) = Layout::from_size_align(pages.max(1) * PAGE, PAGE) else {
            panic!("{pages} pages are no layout");
        };
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: fresh, zeroed, of this size, and never given back.
        let bytes = unsafe { core::slice::from_raw_parts_mut(start, layout.size()) };
        Self { bytes }
    }

    /// Machine address of the first byte.
    pub fn address(&self) -> u64 {
        self.bytes.first().map_or(0, mem::machine_address)
    }

    /// The content. What the CPU reads changes under it, as is intended.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }
}
