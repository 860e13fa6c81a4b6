// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on other domains' memory.

use crate::control::layout;
use crate::domain::{Domain, table};
use crate::guest_memory;
use crate::memory::{domain as own, foreign};
use crate::outcome::Answer;
use alloc::sync::Arc;
use hv_abi::Status;
use hv_abi::memory::MemoryRange;

/// MemoryPopulate.
pub fn populate(domain: u64, gpa: u64, pages: u64) -> Answer {
    let domain = table::named(domain)?;
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    own::populate(&domain, gpa, pages)
}

/// MemoryMap.
pub fn map(caller: &Arc<Domain>, domain: u64, gpa: u64, pages: u64, out: u64) -> Answer {
    let domain = table::named(domain)?;
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    guest_memory::check(caller, out, size_of::<hv_abi::memory::ForeignRun>())?;
    let run = foreign::map(caller, &domain, gpa, pages)?;
    // The page was there a moment ago; the caller can only have lost it by
    // its own doing, and then loses track of its mapping.
    guest_memory::write(caller, out, &run)?;
    Ok(run.pages)
}

/// MemoryPool.
pub fn pool(caller: &Domain, index: u64, gpa: u64) -> Answer {
    let (start, end) =
        usize::try_from(index).ok().and_then(layout::pool_range).ok_or(Status::NotFound)?;
    guest_memory::write(caller, gpa, &MemoryRange { start, end })?;
    Ok(0)
}

/// MemoryClaim.
pub fn claim(domain: u64, pages: u64) -> Answer {
    own::claim(&*table::named(domain)?, pages)?;
    Ok(0)
}

/// MemoryQuery.
pub fn query(caller: &Arc<Domain>, domain: u64, gpa: u64, out: u64) -> Answer {
    let domain = super::about(caller, domain)?;
    let mut info = own::query(&domain, gpa)?;
    if !caller.is_control() {
        info.machine = 0;
    }
    guest_memory::write(caller, out, &info)?;
    Ok(0)
}

/// MemoryIncrease.
pub fn increase(caller: &Domain, gpa: u64, pages: u64) -> Answer {
    if caller.is_control() {
        return Err(Status::Invalid);
    }
    own::populate(caller, gpa, pages)
}
