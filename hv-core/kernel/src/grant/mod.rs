// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants: one domain's use of a range of another's memory. [`table`](mod@table)
//! has the granter's side, [`mapping`] what a domain has mapped of others',
//! [`copy`](mod@copy) copies bytes, [`revoke`](mod@revoke) takes uses back. [`uses`] is
//! the count that all of them stand on.
//!
//! A use is a token, [`table::Held`]: made by counting, it counts back when
//! it is dropped. A mapping owns its token and is owned by the mapper's
//! table of [`Mappings`]; who takes it out of there, whether to unmap, to
//! revoke by force or because the mapper dies, is the only one who has it.
//!
//! Locks: `memory.change` of two domains is taken in the order of
//! [`turns`]; tables and counts need none that a guest can hold.

pub mod copy;
pub mod mapping;
pub mod revoke;
pub mod table;
pub mod uses;

/// Where [`uses`] takes its atomics from; a test puts loom's here.
mod atomic {
    pub use core::sync::atomic::{AtomicU64, Ordering};
}

use crate::domain::Domain;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hv_abi::grant::LOG2_ENTRIES_MAX;
use mapping::Mappings;
use spin::{Mutex, MutexGuard, Once};
use table::Table;

/// Entries a domain's table may have when nobody set a limit.
const DEFAULT_GRANTS: u32 = 1 << LOG2_ENTRIES_MAX;
/// Mappings a domain may hold when nobody set a limit.
const DEFAULT_MAPPINGS: u32 = 1024;

/// The most mappings that handles can name.
pub const MAX_MAPPINGS: u32 = mapping::SLOTS;

/// What a domain has of grants.
pub struct Grants {
    /// Its table, once registered.
    pub table: Once<Table>,
    setup: Mutex<()>,
    forgotten: AtomicBool,
    /// Entries its table may have.
    pub limit: AtomicU32,
    /// Uses of its grants there are.
    pub uses: AtomicU64,
    /// Pages of it that are mapped by grants.
    pub pages: AtomicU64,
    /// Its mappings of others' grants.
    pub mappings: Mutex<Mappings>,
    /// How many; readable without the lock.
    pub held: AtomicU32,
    /// The most it may hold.
    pub mappings_limit: AtomicU32,
    /// Copies it made.
    pub copies: AtomicU64,
    /// Bytes of these.
    pub bytes: AtomicU64,
}

impl Grants {
    /// None.
    pub const fn new() -> Self {
        Self {
            table: Once::new(),
            setup: Mutex::new(()),
            forgotten: AtomicBool::new(false),
            limit: AtomicU32::new(DEFAULT_GRANTS),
            uses: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            mappings: Mutex::new(Mappings::new()),
            held: AtomicU32::new(0),
            mappings_limit: AtomicU32::new(DEFAULT_MAPPINGS),
            copies: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// It has registered a table, so that its size can't be limited any more.
    pub fn is_registered(&self) -> bool {
        self.table.get().is_some()
    }

    fn count_copy(&self, bytes: u32) {
        self.copies.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.into(), Ordering::Relaxed);
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self::new()
    }
}

/// The turns to change two domains' memory: the higher number's first, so
/// that two domains that map from each other can't wait for one another. The
/// control domain's, whose number is the lowest, comes last everywhere.
fn turns<'a>(a: &'a Domain, b: &'a Domain) -> (MutexGuard<'a, ()>, MutexGuard<'a, ()>) {
    let (first, second) = if a.id > b.id { (a, b) } else { (b, a) };
    (first.memory.change.lock(), second.memory.change.lock())
}
