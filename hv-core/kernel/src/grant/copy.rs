// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies by grants, at any byte. Both sides are looked up and checked page
//! by page first, while their stage 2 is held for reading; so the copy that
//! follows can't fail, whatever the domains do meanwhile.

use super::table::Held;
use crate::domain::{Domain, table};
use crate::guest_memory;
use alloc::sync::Arc;
use hv_abi::grant::{COPY_MAX, GrantCopy, GrantPlace, READ_ONLY};
use hv_abi::{DOM_SELF, PAGE_SIZE, Status};
use hv_hal::mem::{self, Place};
use hv_hal::stage2::Stage2;

/// One side: whose memory, where, and the use that allows it.
struct Side {
    domain: Arc<Domain>,
    gpa: u64,
    _held: Option<Held>,
}

fn side(caller: &Arc<Domain>, at: &GrantPlace, len: u32, write: bool) -> Result<Side, Status> {
    if u64::from(at.domain) == DOM_SELF {
        if at.grant != 0 {
            return Err(Status::Invalid);
        }
        return Ok(Side { domain: caller.clone(), gpa: at.offset, _held: None });
    }
    let granter = table::named(at.domain.into())?;
    if granter.id == caller.id {
        return Err(Status::Invalid);
    }
    let (held, entry) = Held::begin(&granter, at.grant, caller)?;
    if write && entry.flags & READ_ONLY != 0 {
        return Err(Status::Denied);
    }
    let inside = at.offset.checked_add(len.into()).is_some_and(|end| end <= u64::from(entry.len));
    if !inside {
        return Err(Status::Invalid);
    }
    let gpa = entry.gpa.checked_add(at.offset).ok_or(Status::Fault)?;
    Ok(Side { domain: granter, gpa, _held: Some(held) })
}

impl Side {
    /// Its tables hold still from here on; every page is the domain's own.
    fn check(&self, stage2: &Stage2, len: u32) -> Result<(), Status> {
        if self.domain.is_dying() {
            return Err(Status::Dying);
        }
        let end = self.gpa.checked_add(len.into()).ok_or(Status::Fault)?;
        let mut page = self.gpa & !(PAGE_SIZE - 1);
        while page < end {
            guest_memory::own(&self.domain, stage2, page)?;
            page += PAGE_SIZE;
        }
        Ok(())
    }

    /// The place of a byte, and how many there are up to the page's end.
    fn place(&self, stage2: &Stage2, done: u32) -> Result<(Place, u32), Status> {
        let at = self.gpa + u64::from(done);
        let offset = at % PAGE_SIZE;
        let frame = guest_memory::own(&self.domain, stage2, at)?;
        Ok((Place { frame, offset: offset as usize }, (PAGE_SIZE - offset) as u32))
    }
}

/// One operation of GrantCopy.
pub fn copy(caller: &Arc<Domain>, op: &GrantCopy) -> Result<(), Status> {
    if op.len == 0 || op.len > COPY_MAX {
        return Err(Status::Invalid);
    }
    let from = side(caller, &op.from, op.len, false)?;
    let to = side(caller, &op.to, op.len, true)?;
    let (source, target) = (from.domain.memory.stage2.read(), to.domain.memory.stage2.read());
    from.check(&source, op.len)?;
    to.check(&target, op.len)?;
    let mut done = 0;
    while done < op.len {
        // What was there in `check` still is: nobody can write the tables.
        let (here, left) = from.place(&source, done)?;
        let (there, room) = to.place(&target, done)?;
        let part = left.min(room).min(op.len - done);
        mem::copy_between(here, there, part as usize);
        done += part;
    }
    caller.grants.count_copy(op.len);
    Ok(())
}
