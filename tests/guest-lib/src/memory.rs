// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory by address. Reads may fault and say so.

use crate::trap::{Fault, catch};

/// Reads a word or says how that faulted. `address` may be anything.
pub fn try_read(address: u64) -> Result<u64, Fault> {
    // SAFETY: an address that can't be read faults and is caught; a volatile
    // read of memory that others change gives some value.
    catch(|| unsafe { (address as *const u64).read_volatile() })
}

/// Writes a word or says how that faulted.
///
/// # Safety
/// If there is memory at `address`, no reference is to it.
pub unsafe fn try_write(address: u64, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller's; faults are caught.
    catch(|| unsafe { (address as *mut u64).write_volatile(value) })
}

/// Fills pages with a pattern that has each word's address in it.
///
/// # Safety
/// The memory is there, and no reference is to it.
pub unsafe fn stamp(start: u64, bytes: u64, salt: u64) {
    for at in (start..start + bytes).step_by(8) {
        // SAFETY: the caller's.
        unsafe { (at as *mut u64).write_volatile(at ^ salt) }
    }
}

/// The first word in a range that is not `wanted(address)`.
///
/// # Safety
/// The memory is there.
pub unsafe fn first_other(
    start: u64,
    bytes: u64,
    wanted: impl Fn(u64) -> u64,
) -> Option<(u64, u64)> {
    (start..start + bytes).step_by(8).find_map(|at| {
        // SAFETY: the caller's.
        let value = unsafe { (at as *const u64).read_volatile() };
        (value != wanted(at)).then_some((at, value))
    })
}
