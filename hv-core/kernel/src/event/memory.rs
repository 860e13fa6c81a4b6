// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registering port words and rings, and forgetting them at the end.

use super::ports;
use super::ring::{Ring, Words};
use crate::domain::Domain;
use alloc::sync::Arc;
use core::ops::RangeInclusive;
use hv_abi::Status;
use hv_abi::event::{LOG2_PORTS_MAX, LOG2_PORTS_MIN};

const LOG2: RangeInclusive<u32> = LOG2_PORTS_MIN..=LOG2_PORTS_MAX;

fn log2(value: u64) -> Result<u32, Status> {
    u32::try_from(value).ok().filter(|v| LOG2.contains(v)).ok_or(Status::Invalid)
}

/// EventWords.
pub fn register_words(domain: &Arc<Domain>, gpa: u64, log2_ports: u64) -> Result<(), Status> {
    let log2_ports = log2(log2_ports)?;
    let _turn = domain.ports.setup.lock();
    if domain.ports.words.get().is_some() {
        return Err(Status::State);
    }
    let words = Words::pin(domain, gpa, log2_ports)?;
    domain.ports.words.call_once(|| words);
    ports::catch_up(domain);
    Ok(())
}

/// EventRing.
pub fn register_ring(
    domain: &Arc<Domain>,
    vcpu: u64,
    priority: u64,
    gpa: u64,
    log2_slots: u64,
) -> Result<(), Status> {
    let log2_slots = log2(log2_slots)?;
    let vcpu =
        usize::try_from(vcpu).ok().and_then(|i| domain.vcpus.get(i)).ok_or(Status::NotFound)?;
    let place =
        usize::try_from(priority).ok().and_then(|p| vcpu.rings.get(p)).ok_or(Status::Invalid)?;
    let _turn = domain.ports.setup.lock();
    let words = domain.ports.words.get().ok_or(Status::State)?;
    if place.get().is_some() {
        return Err(Status::State);
    }
    if 1usize << log2_slots < words.count() {
        return Err(Status::Invalid);
    }
    let slots = Words::pin(domain, gpa, log2_slots)?;
    place.call_once(|| Ring::new(slots));
    ports::catch_up(domain);
    Ok(())
}

/// Ends all pins of a dying domain; its vCPUs don't run and its ports are
/// closed, so nobody looks at the words any more.
pub fn forget(domain: &Domain) {
    let _turn = domain.ports.setup.lock();
    if domain.ports.forget_once() {
        return;
    }
    if let Some(words) = domain.ports.words.get() {
        words.unpin();
    }
    for ring in domain.vcpus.iter().flat_map(|v| &v.rings) {
        if let Some(ring) = ring.get() {
            ring.slots.unpin();
        }
    }
}
