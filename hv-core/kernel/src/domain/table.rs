// SPDX-License-Identifier: MIT OR Apache-2.0
//! All domains by number. A slot has a lock of its own: looking one domain
//! up never waits for work on another.

use super::Domain;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use hv_abi::{DomainId, MAX_DOMAINS, Status};
use spin::RwLock;

static TABLE: [RwLock<Option<Arc<Domain>>>; MAX_DOMAINS] =
    [const { RwLock::new(None) }; MAX_DOMAINS];

/// The domain of this number.
pub fn get(id: DomainId) -> Option<Arc<Domain>> {
    TABLE.get(usize::from(id))?.read().clone()
}

/// The domain a caller named in a register.
pub fn named(id: u64) -> Result<Arc<Domain>, Status> {
    DomainId::try_from(id).ok().and_then(get).ok_or(Status::NotFound)
}

/// Puts a domain into its slot; Exists when that is taken.
pub fn insert(domain: Arc<Domain>) -> Result<(), Status> {
    let slot = TABLE.get(usize::from(domain.id)).ok_or(Status::Invalid)?;
    let mut slot = slot.write();
    if slot.is_some() {
        return Err(Status::Exists);
    }
    *slot = Some(domain);
    Ok(())
}

/// Takes a domain out.
pub fn remove(id: DomainId) {
    if let Some(slot) = TABLE.get(usize::from(id)) {
        // Dropped outside the lock: a domain is large.
        let _gone = slot.write().take();
    }
}

/// Where the search for a free number begins.
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A number nobody has; one that was just given up comes last, so that a
/// number in a log or a script does not soon mean another domain.
pub fn free_id() -> Option<DomainId> {
    let start = NEXT.load(Ordering::Relaxed);
    let id = (0..MAX_DOMAINS)
        .map(|i| (start + i) % MAX_DOMAINS)
        .filter(|i| *i != 0)
        .find(|i| TABLE.get(*i).is_some_and(|slot| slot.read().is_none()))?;
    NEXT.store(id + 1, Ordering::Relaxed);
    DomainId::try_from(id).ok()
}

/// The first domain of this or a higher number.
pub fn at_or_after(id: u64) -> Option<Arc<Domain>> {
    let first = usize::try_from(id).ok()?;
    TABLE.iter().skip(first).find_map(|slot| slot.read().clone())
}

/// Calls `f` for every domain.
pub fn each(f: &mut dyn FnMut(&Arc<Domain>)) {
    for slot in &TABLE {
        let domain = slot.read().clone();
        if let Some(domain) = domain {
            f(&domain);
        }
    }
}
