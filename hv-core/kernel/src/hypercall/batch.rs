// SPDX-License-Identifier: MIT OR Apache-2.0
//! Batch: many calls in one exit, for tools that would make each by itself.
//! An entry is copied in once, decoded and asked for access like any call,
//! and copied back with its answer. What waits or ends the caller can't be
//! in a batch, nor a batch: so this goes one level deep.

use crate::access;
use crate::clock;
use crate::guest_memory;
use crate::outcome::Answer;
use crate::sched::Handle;
use crate::vcpu::Vcpu;
use hv_abi::host::{BATCH_MAX, BatchEntry};
use hv_abi::{Hypercall as H, Status};
use hv_hal::time;

/// A batch ends after the entry in which so much time is over.
const BUDGET_US: u64 = 1_000;

fn allowed(call: H) -> bool {
    !matches!(
        call,
        H::SchedYield {}
            | H::SchedBlock {}
            | H::SchedShutdown { .. }
            | H::SchedPoll { .. }
            | H::NotifyAndBlock { .. }
            | H::HostPower { .. }
            | H::Batch { .. }
    )
}

fn one(handle: &Handle, vcpu: &Vcpu, entry: &BatchEntry) -> Answer {
    if entry.reserved != 0 {
        return Err(Status::Invalid);
    }
    let call = H::decode(entry.number, entry.args).ok_or(Status::NoCall)?;
    if !allowed(call) {
        return Err(Status::Invalid);
    }
    access::check(&handle.domain, call)?;
    super::answer(handle, vcpu, call)
}

/// Batch.
pub fn run(handle: &Handle, vcpu: &Vcpu, gpa: u64, count: u64) -> Answer {
    if count == 0 || count > BATCH_MAX {
        return Err(Status::Invalid);
    }
    let caller = &handle.domain;
    let size = size_of::<BatchEntry>() as u64;
    guest_memory::check(caller, gpa, (count * size) as usize)?;
    let end = time::now().saturating_add(clock::ticks_of_us(BUDGET_US));
    let mut done = 0;
    while done < count && (done == 0 || time::now() < end) {
        let at = gpa + done * size;
        let mut entry: BatchEntry = guest_memory::read(caller, at)?;
        let answer = one(handle, vcpu, &entry);
        entry.value = answer.unwrap_or(0);
        entry.status = answer.err().unwrap_or(Status::Ok) as u32;
        guest_memory::write(caller, at, &entry)?;
        done += 1;
    }
    Ok(done)
}
