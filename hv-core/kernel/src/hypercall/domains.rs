// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on whole domains.

use crate::domain::{self, Domain, destroy as teardown, info as describe, run, table};
use crate::event;
use crate::grant::MAX_MAPPINGS;
use crate::guest_memory;
use crate::memory::domain::GPA_LIMIT;
use crate::outcome::Answer;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use hv_abi::domain::{DomainConfig, limit as limits, reason};
use hv_abi::event::virq;
use hv_abi::grant::LOG2_ENTRIES_MAX;
use hv_abi::{DomainId, MAX_DOMAINS, Status};
use hv_hal::exit::Role;

/// Pages that fit into a domain's address space.
const MAX_PAGES: u64 = GPA_LIMIT / hv_abi::PAGE_SIZE;

/// DomainCreate.
pub fn create(caller: &Domain, gpa: u64) -> Answer {
    let config: DomainConfig = guest_memory::read(caller, gpa)?;
    let id = match config.domain {
        0 => table::free_id().ok_or(Status::Limit)?,
        n if (n as usize) < MAX_DOMAINS => DomainId::try_from(n).map_err(|_| Status::Invalid)?,
        _ => return Err(Status::Invalid),
    };
    let made = domain::create::create(&config, Role::Guest, id)?;
    log::info!("d{id}: created \"{}\", {} vCPUs", made.label(), made.vcpus.len());
    Ok(id.into())
}

/// DomainDestroy.
pub fn destroy(domain: u64) -> Answer {
    teardown::step(&table::named(domain)?)?;
    Ok(0)
}

/// DomainPause.
pub fn pause(domain: u64) -> Answer {
    run::pause(&*table::named(domain)?)?;
    event::raise_control(virq::DOMAIN_STATE);
    Ok(0)
}

/// DomainUnpause.
pub fn unpause(domain: u64) -> Answer {
    run::unpause(&table::named(domain)?)?;
    event::raise_control(virq::DOMAIN_STATE);
    Ok(0)
}

/// DomainInfo.
pub fn info(caller: &Arc<Domain>, at_or_after: u64, gpa: u64) -> Answer {
    let domain = if caller.is_control() {
        table::at_or_after(at_or_after).ok_or(Status::NotFound)?
    } else if at_or_after <= u64::from(caller.id) || at_or_after == hv_abi::DOM_SELF {
        caller.clone()
    } else {
        return Err(Status::NotFound);
    };
    guest_memory::write(caller, gpa, &describe::describe(&domain))?;
    Ok(0)
}

/// DomainShutdown.
pub fn shutdown(domain: u64, why: u64) -> Answer {
    let domain = table::named(domain)?;
    let why = u32::try_from(why)
        .ok()
        .filter(|w| matches!(*w, reason::POWEROFF | reason::REBOOT | reason::SUSPEND))
        .ok_or(Status::Invalid)?;
    if domain.is_control() {
        return Err(Status::Invalid);
    }
    domain.shutdown_request.store(why + 1, Ordering::SeqCst);
    event::raise_virq(&domain, virq::SHUTDOWN);
    Ok(0)
}

/// DomainWeight.
pub fn weight(domain: u64, weight: u64, cap: u64) -> Answer {
    let domain = table::named(domain)?;
    let weight =
        u32::try_from(weight).ok().filter(|w| (1..=0xffff).contains(w)).ok_or(Status::Invalid)?;
    let most = domain.vcpus.len() as u64 * 100;
    let cap = u32::try_from(cap).ok().filter(|c| u64::from(*c) <= most).ok_or(Status::Invalid)?;
    domain.weight.store(weight, Ordering::Relaxed);
    domain.cap.store(cap, Ordering::Relaxed);
    Ok(0)
}

/// DomainLimit.
pub fn limit(domain: u64, limit: u64, value: u64) -> Answer {
    let domain = table::named(domain)?;
    let set = (value != limits::ASK).then_some(value);
    let small = |limit: &AtomicU32, most: u64| {
        if let Some(value) = set {
            let value = u32::try_from(value).ok().filter(|v| u64::from(*v) <= most);
            limit.store(value.ok_or(Status::Invalid)?, Ordering::Relaxed);
        }
        Ok(limit.load(Ordering::Relaxed).into())
    };
    let grants = &domain.grants;
    match limit {
        limits::PORTS => small(&domain.ports.limit, domain.ports.len().into()),
        limits::GRANTS if set.is_some() && grants.is_registered() => Err(Status::State),
        limits::GRANTS => small(&grants.limit, 1 << LOG2_ENTRIES_MAX),
        limits::MAPPINGS => small(&grants.mappings_limit, MAX_MAPPINGS.into()),
        limits::PAGES if set.is_some_and(|v| domain.is_control() || v > MAX_PAGES) => {
            Err(Status::Invalid)
        }
        limits::PAGES => {
            let pages = &domain.memory.max_pages;
            if let Some(value) = set {
                pages.store(value, Ordering::Relaxed);
            }
            Ok(pages.load(Ordering::Relaxed))
        }
        _ => Err(Status::Invalid),
    }
}

/// DomainCounters.
pub fn counters(caller: &Arc<Domain>, domain: u64, gpa: u64) -> Answer {
    let domain = super::about(caller, domain)?;
    guest_memory::write(caller, gpa, &describe::counters(&domain))?;
    Ok(0)
}
