// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's own count of a grant's uses, and by whom: one word, so that
//! both always belong together. While there are uses, no other domain can
//! begin one, whatever the granter writes into its entry.
//!
//! Order: a use is counted before the entry is read, with a full barrier in
//! between. A granter clears the entry and then looks at the count. So either
//! the core finds the entry cleared, or the granter finds the use.
//! `tests/grant_loom.rs` compiles this very file over loom's atomics.

use super::atomic::{AtomicU64, Ordering};

/// Count in bits 31:0, the using domain in bits 47:32.
pub struct Uses(AtomicU64);

/// Why a use can't begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another domain uses the grant.
    Other,
    /// The count is full.
    Full,
}

const COUNT: u64 = 0xffff_ffff;

impl Uses {
    /// None.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more use by a domain. The entry is read after this.
    pub fn begin(&self, by: u16) -> Result<(), Refused> {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let count = old & COUNT;
            if count != 0 && old >> 32 != u64::from(by) {
                return Err(Refused::Other);
            }
            if count == COUNT {
                return Err(Refused::Full);
            }
            let new = u64::from(by) << 32 | (count + 1);
            match self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    /// One use less. What was done in it is seen by whoever finds the count
    /// down. Only the token of a begun use calls this.
    pub fn end(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Uses there are, and by whom when there are any.
    pub fn now(&self) -> (u32, u16) {
        let word = self.0.load(Ordering::SeqCst);
        ((word & COUNT) as u32, (word >> 32) as u16)
    }
}

impl Default for Uses {
    fn default() -> Self {
        Self::new()
    }
}
