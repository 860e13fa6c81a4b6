// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters that a queue's thread raises and the main thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// One figure that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. One thread writes a counter, so this need not be one step.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
