// SPDX-License-Identifier: MIT OR Apache-2.0
//! A caller's memory, by guest-physical address: copied in once, copied out
//! once. An address is an allegation: every page must be the caller's own
//! memory, or the answer is Fault.
//!
//! A page can't be taken away while its domain's stage 2 is held for reading,
//! so lookup and access are one step: another vCPU of the caller may give the
//! page back at the same time.

use crate::domain::Domain;
use crate::memory::frames;
use hv_abi::{PAGE_SIZE, Status};
use hv_hal::addr::Frame;
use hv_hal::mem;
use hv_hal::stage2::Stage2;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The caller's own frame at this address, in its tables.
pub fn own(domain: &Domain, stage2: &Stage2, gpa: u64) -> Result<Frame, Status> {
    stage2
        .lookup(gpa)
        .map(|leaf| leaf.frame)
        .filter(|frame| frames::is_owned_by(*frame, domain.id))
        .ok_or(Status::Fault)
}

/// The same for one who pins it, which looks again.
pub fn frame(domain: &Domain, gpa: u64) -> Result<Frame, Status> {
    own(domain, &domain.memory.stage2.read(), gpa)
}

/// Calls `f(frame, offset, first, length)` for each page's part of a range.
fn parts(
    domain: &Domain,
    gpa: u64,
    length: usize,
    f: &mut dyn FnMut(Frame, usize, usize, usize),
) -> Result<(), Status> {
    let mut done = 0usize;
    while done < length {
        let at = gpa.checked_add(done as u64).ok_or(Status::Fault)?;
        let offset = (at % PAGE_SIZE) as usize;
        let part = (PAGE_SIZE as usize - offset).min(length - done);
        let stage2 = domain.memory.stage2.read();
        f(own(domain, &stage2, at)?, offset, done, part);
        done += part;
    }
    Ok(())
}

/// Copies bytes in.
pub fn read_bytes(domain: &Domain, gpa: u64, buf: &mut [u8]) -> Result<(), Status> {
    parts(domain, gpa, buf.len(), &mut |frame, offset, first, length| {
        if let Some(part) = buf.get_mut(first..first + length) {
            mem::read(frame, offset, part);
        }
    })
}

/// Copies bytes out. Checks every page before the first byte is written.
pub fn write_bytes(domain: &Domain, gpa: u64, buf: &[u8]) -> Result<(), Status> {
    check(domain, gpa, buf.len())?;
    parts(domain, gpa, buf.len(), &mut |frame, offset, first, length| {
        if let Some(part) = buf.get(first..first + length) {
            mem::write(frame, offset, part);
        }
    })
}

/// Every page of the range is the caller's own.
pub fn check(domain: &Domain, gpa: u64, length: usize) -> Result<(), Status> {
    parts(domain, gpa, length, &mut |_, _, _, _| {})
}

/// Copies a structure in.
pub fn read<T: FromBytes + IntoBytes>(domain: &Domain, gpa: u64) -> Result<T, Status> {
    let mut value = T::new_zeroed();
    read_bytes(domain, gpa, value.as_mut_bytes())?;
    Ok(value)
}

/// Copies a structure out.
pub fn write<T: IntoBytes + Immutable>(domain: &Domain, gpa: u64, value: &T) -> Result<(), Status> {
    write_bytes(domain, gpa, value.as_bytes())
}
