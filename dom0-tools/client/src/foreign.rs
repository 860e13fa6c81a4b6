// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's memory, mapped. Whatever is read was written by somebody who is
//! not trusted, at any time: values are copied out once and then looked at.

use crate::Error;
use crate::sys::Mapping;
use hv_ring::RingMemory;
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// A mapping of another domain's memory; unmapped when dropped.
pub struct ForeignMap {
    mapping: Mapping,
    gpa: u64,
    /// What the fake core wants to see dropped with the mapping.
    _token: Option<Box<dyn Any + Send + Sync>>,
}

impl ForeignMap {
    /// Maps `len` bytes of `file`, whose offsets are guest-physical addresses.
    pub(crate) fn of_file(
        file: BorrowedFd<'_>,
        gpa: u64,
        len: usize,
        token: Option<Box<dyn Any + Send + Sync>>,
    ) -> rustix::io::Result<Self> {
        Ok(Self { mapping: Mapping::new(file, gpa, len)?, gpa, _token: token })
    }

    /// Guest-physical address of the first byte.
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// Bytes mapped.
    #[allow(clippy::len_without_is_empty, reason = "an empty mapping cannot be made")]
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Copies out.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        self.check(offset, into.len())?;
        self.mapping.read(offset, into);
        Ok(())
    }

    /// Copies in.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        self.check(offset, from.len())?;
        self.mapping.write(offset, from);
        Ok(())
    }

    /// Copies one structure out.
    pub fn read_object<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let mut object = T::new_zeroed();
        self.read(offset, object.as_mut_bytes())?;
        Ok(object)
    }

    /// Copies one structure in.
    pub fn write_object<T: IntoBytes + zerocopy::Immutable>(
        &self,
        offset: usize,
        object: &T,
    ) -> Result<(), Error> {
        self.write(offset, object.as_bytes())
    }

    /// Where `len` bytes at `offset` are mapped, if they are.
    #[cfg(feature = "backend")]
    pub(crate) fn pointer(&self, offset: usize, len: usize) -> Option<std::ptr::NonNull<u8>> {
        self.mapping.pointer(offset, len)
    }

    /// A 32-bit word, as the guest has it now.
    pub fn word(&self, offset: usize) -> Result<u32, Error> {
        self.check(offset, 4)?;
        Ok(self.mapping.word(offset).load(Ordering::Acquire))
    }

    /// Stores a 32-bit word, after everything written before.
    pub fn set_word(&self, offset: usize, value: u32) -> Result<(), Error> {
        self.check(offset, 4)?;
        self.mapping.word(offset).store(value, Ordering::Release);
        Ok(())
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), Error> {
        if self.mapping.holds(offset, len) {
            return Ok(());
        }
        Err(Error::OutOfBounds { offset, len, mapped: self.len() })
    }
}

impl std::fmt::Debug for ForeignMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ForeignMap({:#x}, {} bytes)", self.gpa, self.len())
    }
}

/// A ring's layout is a constant within the page it is used on, so these
/// offsets are inside; one that is not is our bug and stops the program.
impl RingMemory for ForeignMap {
    fn load_index(&self, offset: usize) -> u32 {
        self.mapping.word(offset).load(Ordering::Acquire)
    }

    fn store_index(&self, offset: usize, value: u32) {
        self.mapping.word(offset).store(value, Ordering::Release);
    }

    fn read_bytes(&self, offset: usize, into: &mut [u8]) {
        self.mapping.read(offset, into);
    }

    fn write_bytes(&self, offset: usize, from: &[u8]) {
        self.mapping.write(offset, from);
    }
}
