// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's grant table: its entries lie in its own memory, the counts of
//! their uses in the core's. [`Held`] is the token of one use: it is made by
//! counting, and dropping it is the only way to count back.

use super::uses::{Refused, Uses};
use crate::domain::Domain;
use crate::event::ring::Words;
use crate::memory::pool;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::grant::{GrantEntry, LOG2_ENTRIES_MAX, LOG2_ENTRIES_MIN, READ_ONLY, VALID};
use zerocopy::FromBytes;

/// 32-bit words of an entry, and where among them `len`, `flags` and `uses`
/// are.
const WORDS: usize = size_of::<GrantEntry>() / 4;
const LEN: usize = core::mem::offset_of!(GrantEntry, len) / 4;
const DOMAIN_AND_FLAGS: usize = core::mem::offset_of!(GrantEntry, domain) / 4;
const USES: usize = core::mem::offset_of!(GrantEntry, uses) / 4;

/// A registered table.
pub struct Table {
    words: Words,
    uses: Box<[Uses]>,
}

impl Table {
    fn pin(domain: &Domain, gpa: u64, log2: u32) -> Result<Self, Status> {
        let count = 1usize << log2;
        let mut uses = Vec::new();
        if !pool::make_room(count * size_of::<Uses>()) || uses.try_reserve_exact(count).is_err() {
            return Err(Status::NoMemory);
        }
        uses.resize_with(count, Uses::new);
        let words = Words::pin(domain, gpa, log2 + WORDS.ilog2())?;
        for word in (0..words.count()).filter_map(|i| words.get(i)) {
            word.store(0, Ordering::Relaxed);
        }
        Ok(Self { words, uses: uses.into_boxed_slice() })
    }

    /// The entry's uses.
    pub fn uses(&self, grant: u32) -> Option<&Uses> {
        self.uses.get(grant as usize)
    }

    /// Every entry that is in use: number, uses, by whom.
    pub fn in_use(&self) -> impl Iterator<Item = (u32, u32, u16)> + '_ {
        (0u32..).zip(&self.uses).filter_map(|(number, uses)| match uses.now() {
            (0, _) => None,
            (count, by) => Some((number, count, by)),
        })
    }

    /// The entry as the granter has it at this moment: a private copy.
    fn read(&self, grant: u32) -> GrantEntry {
        let mut bytes = [0u8; size_of::<GrantEntry>()];
        self.words.read(grant as usize * WORDS, &mut bytes);
        GrantEntry::read_from_bytes(&bytes).unwrap_or_default()
    }

    /// Takes the entry out of force.
    fn clear(&self, grant: u32) {
        for word in [DOMAIN_AND_FLAGS, LEN] {
            if let Some(word) = self.words.get(grant as usize * WORDS + word) {
                word.store(0, Ordering::SeqCst);
            }
        }
    }

    fn tell(&self, grant: u32, more: bool) {
        if let Some(word) = self.words.get(grant as usize * WORDS + USES) {
            match more {
                true => word.fetch_add(1, Ordering::SeqCst),
                false => word.fetch_sub(1, Ordering::SeqCst),
            };
        }
    }
}

/// Calls `f` with the table, unless the domain has none or is dying. The
/// table's pages can't be given back meanwhile: that needs the domain's
/// stage 2 for writing, after it began to die.
fn with<R>(domain: &Domain, f: impl FnOnce(&Table) -> R) -> Result<R, Status> {
    let table = domain.grants.table.get().ok_or(Status::NotFound)?;
    let _kept = domain.memory.stage2.read();
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    Ok(f(table))
}

/// GrantTable.
pub fn register(domain: &Arc<Domain>, gpa: u64, log2_entries: u64) -> Result<(), Status> {
    let log2 = u32::try_from(log2_entries)
        .ok()
        .filter(|l| (LOG2_ENTRIES_MIN..=LOG2_ENTRIES_MAX).contains(l))
        .ok_or(Status::Invalid)?;
    let _turn = domain.grants.setup.lock();
    if domain.grants.table.get().is_some() {
        return Err(Status::State);
    }
    if 1 << log2 > domain.grants.limit.load(Ordering::Relaxed) {
        return Err(Status::Limit);
    }
    let table = Table::pin(domain, gpa, log2)?;
    domain.grants.table.call_once(|| table);
    Ok(())
}

/// Ends the pins of a dying domain's table; once.
pub fn forget(domain: &Domain) {
    let _turn = domain.grants.setup.lock();
    if let Some(table) = domain.grants.table.get()
        && !domain.grants.forgotten.swap(true, Ordering::SeqCst)
    {
        table.words.unpin();
    }
}

/// The entry, uncounted: for one who only looks.
pub fn look(domain: &Domain, grant: u32) -> Result<(GrantEntry, u32), Status> {
    with(domain, |table| {
        let (count, _) = table.uses(grant).ok_or(Status::NotFound)?.now();
        Ok((table.read(grant), count))
    })?
}

/// Takes the entry out of force; the uses that are left, and by whom.
pub fn clear(domain: &Domain, grant: u32) -> Result<(u32, u16), Status> {
    with(domain, |table| {
        let uses = table.uses(grant).ok_or(Status::NotFound)?;
        table.clear(grant);
        Ok(uses.now())
    })?
}

/// Takes every entry out of force.
pub fn clear_all(domain: &Domain) -> Result<(), Status> {
    with(domain, |table| (0..table.uses.len()).for_each(|grant| table.clear(grant as u32)))
}

/// The token of one use of a grant. It keeps the granter's account open; its
/// pages are counted there while it lives.
#[must_use]
pub struct Held {
    granter: Arc<Domain>,
    grant: u32,
    pages: u64,
}

impl Held {
    /// Counts a use by `by`, then reads the entry: in force, and made for
    /// `by`. Denied when it is not.
    pub fn begin(
        granter: &Arc<Domain>,
        grant: u32,
        by: &Domain,
    ) -> Result<(Self, GrantEntry), Status> {
        with(granter, |table| {
            let uses = table.uses(grant).ok_or(Status::NotFound)?;
            uses.begin(by.id).map_err(|why| match why {
                Refused::Other => Status::Busy,
                Refused::Full => Status::Limit,
            })?;
            table.tell(grant, true);
            granter.grants.uses.fetch_add(1, Ordering::Relaxed);
            // From here on dropping it counts back.
            let held = Held { granter: granter.clone(), grant, pages: 0 };
            let entry = table.read(grant);
            let made_for = entry.flags & VALID != 0 && entry.domain == by.id;
            let known = entry.flags & !(VALID | READ_ONLY | hv_abi::grant::COPY_ONLY) == 0;
            match (made_for, known && entry.len > 0) {
                (true, true) => Ok((held, entry)),
                (true, false) => Err(Status::Invalid),
                (false, _) => Err(Status::Denied),
            }
        })?
    }

    /// The granter.
    pub fn granter(&self) -> &Arc<Domain> {
        &self.granter
    }

    /// The entry's number.
    pub fn grant(&self) -> u32 {
        self.grant
    }

    /// Pages mapped in this use.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Counts the pages that are mapped in this use from now on.
    pub fn note_pages(&mut self, pages: u64) {
        self.granter.grants.pages.fetch_add(pages, Ordering::Relaxed);
        self.pages += pages;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.granter.grants.pages.fetch_sub(self.pages, Ordering::Relaxed);
        self.granter.grants.uses.fetch_sub(1, Ordering::Relaxed);
        let Some(table) = self.granter.grants.table.get() else {
            return;
        };
        if let Some(uses) = table.uses(self.grant) {
            uses.end();
        }
        // A dying granter does not look any more, and its pages may be gone.
        let _ = with(&self.granter, |table| table.tell(self.grant, false));
    }
}
