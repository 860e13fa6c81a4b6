// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking at grants, taking them back, and what becomes of mappings when
//! the mapper dies.

use super::mapping::{Mapping, take_down};
use super::table;
use crate::domain::{Domain, table as domains};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::grant::{ALL, GrantInfo};
use hv_abi::{DOM_SELF, DomainId, PAGE_SIZE, Status};

/// Pages that one step takes down, a mapping counted as one more.
const BUDGET: u64 = 512;

fn number(grant: u64) -> Result<u32, Status> {
    u32::try_from(grant).map_err(|_| Status::NotFound)
}

/// GrantQuery.
pub fn query(caller: &Arc<Domain>, domain: u64, grant: u64) -> Result<GrantInfo, Status> {
    let owner = if domain == DOM_SELF { caller.clone() } else { domains::named(domain)? };
    let own = owner.id == caller.id;
    let (entry, uses) = table::look(&owner, number(grant)?)?;
    // What is not for the caller is nothing it may know of.
    let made_for = entry.flags & hv_abi::grant::VALID != 0 && entry.domain == caller.id;
    if !own && !caller.is_control() && !made_for {
        return Err(Status::Denied);
    }
    let whole = own || caller.is_control();
    Ok(GrantInfo {
        gpa: if whole { entry.gpa } else { entry.gpa % PAGE_SIZE },
        len: entry.len,
        domain: entry.domain.into(),
        flags: entry.flags.into(),
        uses,
    })
}

/// GrantRevoke.
pub fn revoke(caller: &Arc<Domain>, domain: u64, grant: u64, force: u64) -> Result<(), Status> {
    let owner = if domain == DOM_SELF { caller.clone() } else { domains::named(domain)? };
    let forced = match force {
        0 => false,
        1 => true,
        _ => return Err(Status::Invalid),
    };
    if !caller.is_control() && (forced || owner.id != caller.id) {
        return Err(Status::Denied);
    }
    if grant == ALL {
        return if forced { revoke_all(&owner) } else { Err(Status::Invalid) };
    }
    let grant = number(grant)?;
    let (uses, by) = match table::clear(&owner, grant) {
        // Its table is gone, its grants may still be mapped.
        Err(Status::Dying) if forced => return revoke_all(&owner),
        other => other?,
    };
    match (uses, forced) {
        (0, _) => Ok(()),
        (_, false) => Err(Status::Busy),
        (_, true) => {
            let this = |m: &Mapping| m.granter() == owner.id && m.grant() == grant;
            if let Some(mapper) = domains::get(by) {
                take_down(&mapper, &this, BUDGET);
            }
            // Others may be in the middle of a copy, or of mapping it.
            match table::clear(&owner, grant) {
                Ok((0, _)) | Err(_) => Ok(()),
                Ok(_) => Err(Status::Again),
            }
        }
    }
}

fn revoke_all(owner: &Arc<Domain>) -> Result<(), Status> {
    // A dying domain has none in force, one without a table none at all.
    let _ = table::clear_all(owner);
    let owners = owner.id;
    let mut result = Ok(());
    domains::each(&mut |mapper| {
        if result.is_ok() && mapper.grants.held.load(Ordering::Relaxed) > 0 {
            let theirs = |m: &Mapping| m.granter() == owners;
            if !take_down(mapper, &theirs, BUDGET) {
                result = Err(Status::Again);
            }
        }
    });
    result
}

/// Takes some mappings of a dying domain down; true when it has none.
pub fn close_some(domain: &Domain) -> bool {
    domain.grants.held.load(Ordering::Relaxed) == 0 || take_down(domain, &|_| true, BUDGET)
}

/// What all domains' mappings are of one granter: how many, and pages.
pub fn mapped_of(granter: DomainId) -> (u64, u64) {
    let mut sum = (0, 0);
    domains::each(&mut |mapper| {
        for mapping in mapper.grants.mappings.lock().iter().filter(|m| m.granter() == granter) {
            sum = (sum.0 + 1, sum.1 + mapping.place().1);
        }
    });
    sum
}
