// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking a domain down, in steps that never take long. The order: no more
//! references may begin (`dying`), no vCPU runs, ports close and peers hear of
//! it, its mappings of others' grants end, the core's pins on its memory end,
//! vCPU pages and memory go back. The domain leaves the table with its last
//! page, which others may still have mapped.

use super::{Domain, run, table};
use crate::event;
use crate::grant;
use crate::memory::{domain as memory, pool::TablesOf};
use crate::sched;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::event::virq;

/// Table pages or leaves one call takes down.
const BUDGET: usize = 16;

/// One step; Again until all that can go is gone.
pub fn step(domain: &Arc<Domain>) -> Result<(), Status> {
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    let first = !domain.dying.swap(true, Ordering::SeqCst);
    run::wait_until_none_runs(domain);
    if first {
        log::info!("d{}: destroying \"{}\"", domain.id, domain.label());
        sched::forget(domain);
    }
    if !event::close_some(domain) {
        return Err(Status::Again);
    }
    if !grant::revoke::close_some(domain) {
        return Err(Status::Again);
    }
    event::forget_memory(domain);
    grant::table::forget(domain);
    if !memory::teardown_step(domain, BUDGET)? {
        return Err(Status::Again);
    }
    for vcpu in &domain.vcpus {
        vcpu.release(&mut TablesOf(domain.id));
    }
    forget_if_empty(domain);
    Ok(())
}

/// Takes a dead domain out of the table once it owns no page any more.
pub fn forget_if_empty(domain: &Domain) {
    let released = domain.vcpus.iter().all(|v| v.is_released());
    if domain.is_dying() && released && domain.memory.pages.load(Ordering::Acquire) == 0 {
        table::remove(domain.id);
        log::info!("d{}: gone", domain.id);
        event::raise_control(virq::DOMAIN_STATE);
    }
}
