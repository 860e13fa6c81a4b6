// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the core and every domain must agree on: the hypercall table, status
//! codes, identifiers, and each structure that crosses a privilege border.
//!
//! Calling convention: `VMCALL` or `VMMCALL` from CPL 0 with the number in
//! `rax` and up to five arguments in `rdi rsi rdx r10 r8`. The core answers
//! with a [`Status`] in `rax` and one value in `rdx`; it changes no other
//! register. Structures are named by guest-physical address, are copied in
//! once, and must not cross the end of the caller's memory.
//!
//! Neighbours: `hv-core` implements this, `hv-client`, `hv-guest` and the
//! kernel patches speak it. C headers are generated from [`HYPERCALLS`] and
//! the structures here; see `docs/` for the changelog of the interface.
#![no_std]
#![forbid(unsafe_code)]

pub mod call;
pub mod console;
pub mod cpuid;
pub mod domain;
pub mod event;
pub mod grant;
pub mod host;
pub mod memory;
pub mod start;
pub mod status;
pub mod vcpu;

pub use call::{Caller, Door, HYPERCALLS, Hypercall, HypercallInfo};
pub use status::Status;

/// Major version: changes when a call or structure changes its meaning.
pub const ABI_MAJOR: u32 = 0;
/// Minor version: changes when something is added.
pub const ABI_MINOR: u32 = 2;
/// The version as [`Hypercall::Version`] answers it: major << 16 | minor.
pub const ABI_VERSION: u32 = ABI_MAJOR << 16 | ABI_MINOR;

/// Bytes of the smallest page (SDM Vol. 3, 5.5).
pub const PAGE_SIZE: u64 = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// A domain's number. The control domain is 0.
pub type DomainId = u16;
/// The control domain.
pub const DOM_CONTROL: DomainId = 0;
/// Names the caller itself where a call takes a domain.
pub const DOM_SELF: u64 = 0xffff;
/// Domain numbers are below this.
pub const MAX_DOMAINS: usize = 4096;
/// A domain has at most this many vCPUs.
pub const MAX_VCPUS: usize = 64;
