// SPDX-License-Identifier: MIT OR Apache-2.0
//! SchedPoll: a vCPU waits for one of several ports, masked or not.

use crate::clock;
use crate::domain::Domain;
use crate::guest_memory;
use crate::outcome::Outcome;
use crate::vcpu::{NEVER, Vcpu};
use core::sync::atomic::{AtomicU32, Ordering};
use hv_abi::Status;
use hv_abi::event::PENDING;
use hv_hal::time;

/// Ports of one call.
const MOST: usize = 64;

/// SchedPoll.
pub fn poll(
    caller: &Domain,
    vcpu: &Vcpu,
    gpa: u64,
    count: u64,
    timeout_ns: u64,
) -> Result<Outcome, Status> {
    let count =
        usize::try_from(count).ok().filter(|n| (1..=MOST).contains(n)).ok_or(Status::Invalid)?;
    let mut bytes = [0u8; MOST * 4];
    guest_memory::read_bytes(caller, gpa, bytes.get_mut(..count * 4).unwrap_or_default())?;
    let ports = bytes.as_chunks::<4>().0.iter().take(count).map(|b| u32::from_le_bytes(*b));
    let mut words: [Option<&AtomicU32>; MOST] = [None; MOST];
    for (place, port) in words.iter_mut().zip(ports) {
        *place = Some(caller.ports.word(port)?);
    }
    // Counted first, looked at then: a sender does it the other way round.
    caller.ports.pollers.fetch_add(1, Ordering::SeqCst);
    vcpu.polling.store(true, Ordering::SeqCst);
    let pending = words.iter().flatten().any(|w| w.load(Ordering::SeqCst) & PENDING != 0);
    if pending {
        vcpu.polling.store(false, Ordering::SeqCst);
        caller.ports.pollers.fetch_sub(1, Ordering::SeqCst);
        return Ok(Outcome::Resume);
    }
    let until = match timeout_ns {
        0 => NEVER,
        ns => time::now().saturating_add(clock::ticks_of_us(ns.div_ceil(1000))),
    };
    Ok(Outcome::Poll(until))
}
