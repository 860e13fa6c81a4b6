// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on grants: tables of operations in the caller's memory, each copied
//! in once, done, and copied back with its status.

use crate::domain::Domain;
use crate::grant::mapping::Leaving;
use crate::grant::{copy as copies, mapping, revoke};
use crate::guest_memory;
use crate::outcome::Answer;
use alloc::sync::Arc;
use hv_abi::Status;
use hv_abi::grant::{COPY_MAX, GrantCopy, GrantMap, GrantUnmap, OPS_PER_CALL};
use hv_abi::memory::PAGES_PER_CALL;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes that one call copies, about.
const COPY_BUDGET: u64 = 4 * COPY_MAX as u64;

/// Does operations until all are done or their cost is over the budget; an
/// operation answers its cost.
fn each<T: FromBytes + IntoBytes + Immutable>(
    caller: &Domain,
    gpa: u64,
    count: u64,
    budget: u64,
    mut operation: impl FnMut(&mut T) -> u64,
) -> Answer {
    if count == 0 || count > OPS_PER_CALL {
        return Err(Status::Invalid);
    }
    let size = size_of::<T>() as u64;
    guest_memory::check(caller, gpa, (count * size) as usize)?;
    let (mut done, mut spent) = (0, 0);
    while done < count && spent < budget {
        // The range was the caller's own in `check`; what it gave back since
        // can only end its own call.
        let at = gpa + done * size;
        let mut this: T = match guest_memory::read(caller, at) {
            Ok(this) => this,
            Err(status) if done == 0 => return Err(status),
            Err(_) => break,
        };
        spent += operation(&mut this);
        done += 1;
        guest_memory::write(caller, at, &this)?;
    }
    Ok(done)
}

/// The status of a result, for an operation.
fn code(result: Result<(), Status>) -> u32 {
    result.err().unwrap_or(Status::Ok) as u32
}

/// GrantMap.
pub fn map(caller: &Arc<Domain>, gpa: u64, count: u64) -> Answer {
    each(caller, gpa, count, PAGES_PER_CALL, |op: &mut GrantMap| {
        op.handle = 0;
        op.status = code(mapping::map(caller, op));
        u64::from(op.pages.min(PAGES_PER_CALL as u32)) + 1
    })
}

/// GrantUnmap.
pub fn unmap(caller: &Arc<Domain>, gpa: u64, count: u64) -> Answer {
    // What leaves is settled when this goes, before the caller hears of it.
    let mut leaving = Leaving::new(caller);
    each(caller, gpa, count, PAGES_PER_CALL, |op: &mut GrantUnmap| {
        let result = mapping::unmap(caller, &mut leaving, op.handle);
        op.status = code(result.map(|_| ()));
        result.unwrap_or(0) + 1
    })
}

/// GrantCopy.
pub fn copy(caller: &Arc<Domain>, gpa: u64, count: u64) -> Answer {
    each(caller, gpa, count, COPY_BUDGET, |op: &mut GrantCopy| {
        op.status = code(copies::copy(caller, op));
        op.len.min(COPY_MAX).into()
    })
}

/// GrantQuery.
pub fn query(caller: &Arc<Domain>, domain: u64, grant: u64, gpa: u64) -> Answer {
    let info = revoke::query(caller, domain, grant)?;
    guest_memory::write(caller, gpa, &info)?;
    Ok(0)
}
