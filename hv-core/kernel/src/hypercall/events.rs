// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of event calls that look at other domains or at memory.

use crate::domain::{Domain, table};
use crate::event::ports;
use crate::guest_memory;
use crate::outcome::Answer;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::{DOM_SELF, DomainId, Status};

/// EventUpcall.
pub fn upcall(caller: &Arc<Domain>, vcpu: u64, vector: u64) -> Answer {
    let vcpu =
        usize::try_from(vcpu).ok().and_then(|i| caller.vcpus.get(i)).ok_or(Status::NotFound)?;
    let vector = u8::try_from(vector).ok().filter(|v| *v >= 32).ok_or(Status::Invalid)?;
    vcpu.upcall.store(vector, Ordering::SeqCst);
    ports::catch_up(caller);
    Ok(0)
}

/// EventAlloc.
pub fn allocate(caller: &Arc<Domain>, for_whom: u64, remote: u64) -> Answer {
    let owner = super::about(caller, for_whom)?;
    let remote = if remote == DOM_SELF {
        caller.id
    } else {
        let remote = DomainId::try_from(remote).map_err(|_| Status::NotFound)?;
        table::get(remote).ok_or(Status::NotFound)?.id
    };
    ports::allocate(&owner, remote).map(u64::from)
}

/// EventBind.
pub fn bind(caller: &Arc<Domain>, remote: u64, remote_port: u64) -> Answer {
    let remote = if remote == DOM_SELF { caller.clone() } else { table::named(remote)? };
    ports::bind(caller, &remote, remote_port).map(u64::from)
}

/// EventStatus.
pub fn status(caller: &Arc<Domain>, of_whom: u64, port: u64, gpa: u64) -> Answer {
    let owner = super::about(caller, of_whom)?;
    let status = ports::status(&owner, port)?;
    guest_memory::write(caller, gpa, &status)?;
    Ok(0)
}

/// EventReset.
pub fn reset(caller: &Arc<Domain>, domain: u64) -> Answer {
    let domain = super::about(caller, domain)?;
    if ports::close_some(&domain) { Ok(0) } else { Err(Status::Again) }
}
