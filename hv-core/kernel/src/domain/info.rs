// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's figures, as DomainInfo answers them.

use super::{Domain, run};
use crate::clock;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::domain::{DomainCounters, DomainInfo, state};
use zerocopy::FromZeros;

/// The answer for one domain, now.
pub fn describe(domain: &Domain) -> DomainInfo {
    let mut info = DomainInfo::new_zeroed();
    let stop = *domain.stopped.lock();
    let running = run::any_running(domain);
    let blocked = domain.vcpus.iter().all(|v| v.is_blocked() || v.is_offline());
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    info.domain = u32::from(domain.id);
    info.state = flag(domain.pauses.load(Ordering::SeqCst) > 0, state::PAUSED)
        | flag(stop.is_some(), state::SHUTDOWN)
        | flag(domain.is_dying(), state::DYING)
        | flag(running, state::RUNNING)
        | flag(blocked && !running, state::BLOCKED)
        | flag(domain.new.load(Ordering::Relaxed), state::NEW);
    if let Some(stop) = stop {
        info.reason = stop.reason;
        info.code = stop.code;
        info.fault_vcpu = stop.vcpu;
        info.fault_rip = stop.rip;
    }
    info.vcpus = domain.vcpus.len() as u32;
    info.pages = domain.memory.pages.load(Ordering::Relaxed);
    info.max_pages = domain.memory.max_pages.load(Ordering::Relaxed);
    info.foreign_pages = domain.memory.foreign.load(Ordering::Relaxed);
    for vcpu in &domain.vcpus {
        info.run_ns += clock::nanoseconds(vcpu.times.run.load(Ordering::Relaxed));
        info.wait_ns += clock::nanoseconds(vcpu.times.wait.load(Ordering::Relaxed));
        info.exits += vcpu.trace.total();
    }
    info.hypercalls = domain.hypercalls.load(Ordering::Relaxed);
    info.events = domain.ports.delivered.load(Ordering::Relaxed);
    info.ports = domain.ports.used.load(Ordering::Relaxed);
    info.weight = domain.weight.load(Ordering::Relaxed);
    info.cap = domain.cap.load(Ordering::Relaxed);
    info.uuid = domain.uuid;
    info.name = domain.name;
    info
}

/// The answer of DomainCounters.
pub fn counters(domain: &Domain) -> DomainCounters {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut exits = [0; 16];
    for vcpu in &domain.vcpus {
        exits.iter_mut().zip(vcpu.trace.counts()).for_each(|(sum, count)| *sum += count);
    }
    DomainCounters {
        exits,
        hypercalls: read(&domain.hypercalls),
        events: read(&domain.ports.delivered),
        events_sent: read(&domain.ports.sent),
        ports: domain.ports.used.load(Ordering::Relaxed).into(),
        pages: read(&domain.memory.pages),
        claimed_pages: domain.memory.claim.pages(),
        foreign_pages: read(&domain.memory.foreign),
        granted_pages: read(&domain.grants.pages),
        grant_uses: read(&domain.grants.uses),
        grant_mappings: domain.grants.held.load(Ordering::Relaxed).into(),
        grant_copies: read(&domain.grants.copies),
        grant_bytes: read(&domain.grants.bytes),
    }
}
