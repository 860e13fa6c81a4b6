// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small file that is mapped, so that what was stored last is there for the
//! next process when this one is killed at any moment.

use crate::Error;
use crate::sys::Mapping;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

/// A mapped file. Offsets are constants of whoever uses it: one outside the
/// mapping is our bug and stops the program.
#[derive(Debug)]
pub struct SharedFile(Mapping);

impl SharedFile {
    /// Maps the first `len` bytes; the file must have them, and keep them.
    pub fn new(file: BorrowedFd<'_>, len: usize) -> Result<Self, Error> {
        let mapping =
            Mapping::new(file, 0, len).map_err(|e| Error::device("map a state file", e))?;
        Ok(Self(mapping))
    }

    /// Bytes mapped.
    #[allow(clippy::len_without_is_empty, reason = "an empty mapping cannot be made")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A 32-bit word.
    pub fn get(&self, offset: usize) -> u32 {
        self.0.word(offset).load(Ordering::Acquire)
    }

    /// Stores a 32-bit word, after everything stored before.
    pub fn set(&self, offset: usize, value: u32) {
        self.0.word(offset).store(value, Ordering::Release);
    }

    /// A 64-bit word.
    pub fn get_long(&self, offset: usize) -> u64 {
        self.0.long(offset).load(Ordering::Acquire)
    }

    /// Stores a 64-bit word, after everything stored before.
    pub fn set_long(&self, offset: usize, value: u64) {
        self.0.long(offset).store(value, Ordering::Release);
    }
}
