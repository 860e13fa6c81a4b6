// SPDX-License-Identifier: MIT OR Apache-2.0
//! A caller's memory, by guest-physical address: copied in once, copied out
//! once. An address is an allegation: every page must be the caller's own
//! memory, or the answer is Fault.

use crate::domain::Domain;
use crate::memory::frames;
use hv_abi::{PAGE_SIZE, Status};
use hv_hal::addr::Frame;
use hv_hal::mem;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The caller's own frame at this address.
pub fn frame(domain: &Domain, gpa: u64) -> Result<Frame, Status> {
    domain
        .memory
        .frame(gpa)
        .filter(|frame| frames::is_owned_by(*frame, domain.id))
        .ok_or(Status::Fault)
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
        f(frame(domain, at)?, offset, done, part);
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
