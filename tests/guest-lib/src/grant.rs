// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both halves of grants, as `hv_abi::grant` describes them: a table in this
//! image, and the calls of one who uses others' grants, one operation each.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hv_abi::grant::{GrantCopy, GrantEntry, GrantInfo, GrantMap, GrantPlace, GrantUnmap, VALID};
use hv_abi::{DOM_SELF, Door, Status};

use crate::hypercall::{Hv, gpa, gpa_mut};

/// Entries of the table.
pub const ENTRIES: usize = 128;

/// An entry as atomics: address, word, uses, the granter's own.
#[repr(C)]
struct Entry {
    gpa: AtomicU64,
    word: AtomicU64,
    uses: AtomicU32,
    own: [AtomicU32; 3],
}
const _: () = assert!(size_of::<Entry>() == size_of::<GrantEntry>());

#[repr(C, align(4096))]
struct Table([Entry; ENTRIES]);

static TABLE: Table = Table(
    [const {
        Entry {
            gpa: AtomicU64::new(0),
            word: AtomicU64::new(0),
            uses: AtomicU32::new(0),
            own: [const { AtomicU32::new(0) }; 3],
        }
    }; ENTRIES],
);

/// Address of the table.
pub fn table() -> u64 {
    gpa(&TABLE)
}

/// Registers the table.
pub fn setup() -> Result<(), Status> {
    Hv.grant_table(table(), ENTRIES.ilog2().into()).map(|_| ())
}

/// Lets a domain use a range.
pub fn give(grant: usize, at: u64, len: u32, domain: u64, flags: u16) {
    let entry = &TABLE.0[grant];
    entry.gpa.store(at, Ordering::SeqCst);
    let word = GrantEntry::word(len, domain as u16, flags | VALID);
    entry.word.store(word, Ordering::SeqCst);
}

/// Takes it back; true when nobody uses it, nor will.
pub fn take_back(grant: usize) -> bool {
    TABLE.0[grant].word.swap(0, Ordering::SeqCst);
    uses(grant) == 0
}

/// Uses there are, as the core tells.
pub fn uses(grant: usize) -> u32 {
    TABLE.0[grant].uses.load(Ordering::SeqCst)
}

fn result<T>(status: u32, value: T) -> Result<T, Status> {
    match Status::from_code(status.into()) {
        Some(Status::Ok) => Ok(value),
        Some(status) => Err(status),
        None => Err(Status::NoCall),
    }
}

/// GrantMap of one operation, as it came back.
pub fn map_op(mut op: GrantMap) -> Result<GrantMap, Status> {
    Hv.grant_map(gpa_mut(&mut op), 1)?;
    result(op.status, op)
}

/// GrantMap of a grant's first pages; the handle.
pub fn map(domain: u64, grant: u32, pages: u32, at: u64, flags: u16) -> Result<u32, Status> {
    let domain = domain as u32;
    let op = GrantMap { domain, grant, pages, gpa: at, flags: flags.into(), ..GrantMap::default() };
    map_op(op).map(|op| op.handle)
}

/// GrantUnmap.
pub fn unmap(handle: u32) -> Result<(), Status> {
    let mut op = GrantUnmap { handle, status: 0 };
    Hv.grant_unmap(gpa_mut(&mut op), 1)?;
    result(op.status, ())
}

/// This domain's own memory, as a side of a copy.
pub fn own(at: u64) -> GrantPlace {
    GrantPlace { domain: DOM_SELF as u32, grant: 0, offset: at }
}

/// Bytes of a grant, as a side of a copy.
pub fn of(domain: u64, grant: u32, offset: u64) -> GrantPlace {
    GrantPlace { domain: domain as u32, grant, offset }
}

/// GrantCopy.
pub fn copy(from: GrantPlace, to: GrantPlace, len: u32) -> Result<(), Status> {
    let mut op = GrantCopy { from, to, len, status: 0 };
    Hv.grant_copy(gpa_mut(&mut op), 1)?;
    result(op.status, ())
}

/// GrantQuery.
pub fn query(domain: u64, grant: u64) -> Result<GrantInfo, Status> {
    let mut info = GrantInfo::default();
    Hv.grant_query(domain, grant, gpa_mut(&mut info))?;
    Ok(info)
}
