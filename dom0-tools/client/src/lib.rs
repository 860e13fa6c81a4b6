// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control domain's doors to the core, as safe types.
//!
//! Three doors, three device files (`include/uapi/misc/hvx.h` of the kernel
//! series): hypercalls, events, foreign memory. The trait [`Core`] is what the
//! rest of the tools sees of them; [`Device`] is the real one and, with the
//! feature `fake`, [`fake::FakeCore`] one in memory, with the same mappings and
//! the same eventfds but no hypervisor. The signature everything shares:
//!
//! ```text
//! fn call(&self, call: Hypercall, buffer: Option<&mut [u8]>) -> Result<Reply, Error>
//! ```
//!
//! [`Calls`] turns it into one method per call with the ABI's structures. This
//! is the one crate of the tools with unsafe code: `sys` has ioctls and mappings,
//! and, with the feature `backend`, `memory` lends a mapping to rust-vmm's crates
//! and `uring` reads and writes files right from and to it.
//! Neighbours: `hv-abi` below; `hv-toolstack` and `hvd` above.

mod calls;
mod device;
#[cfg(feature = "backend")]
mod doors;
mod error;
mod event;
#[cfg(feature = "fake")]
pub mod fake;
mod foreign;
#[cfg(feature = "backend")]
#[allow(unsafe_code)]
mod memory;
mod shared;
#[allow(unsafe_code)]
mod sys;
#[cfg(feature = "backend")]
#[allow(unsafe_code)]
pub mod tap;
#[cfg(feature = "backend")]
#[allow(unsafe_code)]
pub mod uring;

pub use calls::Calls;
pub use device::{Device, Paths};
#[cfg(feature = "backend")]
pub use doors::Doors;
pub use error::Error;
pub use event::{EventPort, Events};
pub use foreign::ForeignMap;
#[cfg(feature = "backend")]
pub use memory::{GuestMemory, GuestRegion};
pub use shared::SharedFile;

use hv_abi::{DomainId, Hypercall, Status};
use std::sync::Arc;

/// What the core answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `rax`.
    pub status: Status,
    /// `rdx`.
    pub value: u64,
}

/// A core that can be called: the machine's, or a fake.
pub trait Core: Send + Sync {
    /// Makes one hypercall. `buffer` takes the place of the argument that
    /// names a structure ([`buffer_argument`]): it is copied in before and
    /// back after. `Ok` means that the core answered, whatever it answered.
    fn call(&self, call: Hypercall, buffer: Option<&mut [u8]>) -> Result<Reply, Error>;

    /// Maps `len` bytes of a domain's memory from guest-physical `gpa` on.
    fn map(&self, domain: DomainId, gpa: u64, len: usize) -> Result<ForeignMap, Error>;

    /// Opens an empty set of event ports; with `only`, one that can reach no
    /// other domain than that.
    fn events(&self, only: Option<DomainId>) -> Result<Arc<dyn Events>, Error>;
}

/// Position of the argument that is a structure's address in the table's row:
/// `out_gpa` where there is one, else `gpa`.
pub fn buffer_argument(call: Hypercall) -> Option<usize> {
    let args = call.info().args;
    args.iter()
        .position(|name| *name == "out_gpa")
        .or_else(|| args.iter().position(|name| *name == "gpa"))
}
