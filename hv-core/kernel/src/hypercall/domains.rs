// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on whole domains.

use crate::domain::{self, Domain, destroy as teardown, info as describe, run, table};
use crate::event;
use crate::guest_memory;
use crate::outcome::Answer;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::domain::{DomainConfig, reason};
use hv_abi::event::virq;
use hv_abi::{DomainId, MAX_DOMAINS, Status};
use hv_hal::exit::Role;

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
