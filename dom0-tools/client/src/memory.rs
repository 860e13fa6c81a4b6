// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory for rust-vmm's crates: regions of `vm-memory` over
//! [`ForeignMap`]s.
//!
//! UNSAFETY: `vm-memory` wants a pointer for its volatile slices. Soundness: the
//! slice borrows from the region, so it does not outlive the mapping; its range
//! is checked against the mapping; and `VolatileSlice` is made for memory that
//! others write at any time: it never makes a reference to it.

use crate::{Core, Error, ForeignMap};
use hv_abi::DomainId;
use std::sync::Arc;
use vm_memory::bitmap::BS;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionCollection, GuestUsize, MemoryRegionAddress, VolatileSlice,
};

/// One mapped range of a guest's memory.
#[derive(Debug)]
pub struct GuestRegion(ForeignMap);

impl GuestMemoryRegion for GuestRegion {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.0.len() as GuestUsize
    }

    fn start_addr(&self) -> GuestAddress {
        GuestAddress(self.0.gpa())
    }

    fn bitmap(&self) -> BS<'_, Self::B> {}

    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_, BS<'_, Self::B>>, GuestMemoryError> {
        let out = GuestMemoryError::InvalidBackendAddress;
        let offset = usize::try_from(offset.0).map_err(|_| out)?;
        let pointer =
            self.0.pointer(offset, count).ok_or(GuestMemoryError::InvalidBackendAddress)?;
        // SAFETY: `count` bytes from `pointer` on are inside the mapping, which
        // lives as long as `self`, from which the slice borrows.
        Ok(unsafe { VolatileSlice::new(pointer.as_ptr(), count) })
    }
}

impl GuestMemoryRegionBytes for GuestRegion {}

/// All of a guest's memory; cheap to clone.
#[derive(Clone, Debug)]
pub struct GuestMemory(Arc<GuestRegionCollection<GuestRegion>>);

impl GuestMemory {
    /// Maps ranges, given as address and length, in ascending order.
    pub fn map(core: &dyn Core, domain: DomainId, ranges: &[(u64, u64)]) -> Result<Self, Error> {
        let regions: Result<Vec<_>, Error> = ranges
            .iter()
            .map(|(gpa, len)| Ok(GuestRegion(core.map(domain, *gpa, *len as usize)?)))
            .collect();
        let all = GuestRegionCollection::from_regions(regions?).map_err(|e| {
            Error::device(
                format!("use the memory map of domain {domain}"),
                std::io::Error::other(e),
            )
        })?;
        Ok(Self(Arc::new(all)))
    }

    /// Where bytes are mapped, if all of them are, in one piece.
    pub(crate) fn pointer(&self, gpa: u64, len: usize) -> Option<std::ptr::NonNull<u8>> {
        let (region, at) = self.0.to_region_addr(GuestAddress(gpa))?;
        region.0.pointer(usize::try_from(at.0).ok()?, len)
    }

    /// Whether all of a range is memory, in one piece.
    pub fn holds(&self, gpa: u64, len: usize) -> bool {
        self.pointer(gpa, len).is_some()
    }
}

/// What `virtio-queue` works on.
impl std::ops::Deref for GuestMemory {
    type Target = GuestRegionCollection<GuestRegion>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
