// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runtime of micro-guests: bare programs that try one behaviour of the
//! core each. There is one image. The core boots it as the control domain,
//! where it is the *runner*; the runner makes guests of copies of itself, the
//! *children*, whose first instruction is the same in every one and whose
//! main function is named in a register.
//!
//! A micro-guest owns its whole machine and is meant to misuse it. So the
//! functions here that can only hurt the guest itself (a wrong MSR, a jump to
//! user mode) are safe to call when the fault they may raise is caught; what
//! writes memory by address is `unsafe`.
//!
//! Addresses: everything is mapped one to one, so that a pointer is a
//! guest-physical address. On the host only [`text`] and [`paging`] exist.
// UNSAFETY: this crate is a kernel: entry points, descriptor tables, traps,
// privileged instructions. Each block says why it is sound.
#![no_std]
#![allow(unsafe_code)]
// A verdict carries its text: there is no heap to put it on.
#![allow(clippy::result_large_err)]

#[cfg(test)]
extern crate std;

pub mod paging;
pub mod text;
pub mod verdict;

#[cfg(target_os = "none")]
pub mod apic;
#[cfg(target_os = "none")]
pub mod bench;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod descriptor;
#[cfg(target_os = "none")]
pub mod event;
#[cfg(target_os = "none")]
pub mod grant;
#[cfg(target_os = "none")]
pub mod hypercall;
#[cfg(target_os = "none")]
pub mod mail;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod trap;
#[cfg(target_os = "none")]
pub mod virtio;

pub use hv_abi as abi;
pub use verdict::{Outcome, Verdict};
