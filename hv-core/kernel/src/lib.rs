// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's logic: domains, vCPUs, events, memory, scheduling, hypercalls.
//! No unsafe code, no vendor's name: hardware is what `hv-hal` says it is.
//!
//! One loop a CPU ([`vcpu_loop`]) picks a vCPU, enters it, and acts on the
//! [`Outcome`](outcome::Outcome) of what came back. Handlers never wait and
//! never switch; they return what shall happen next.
#![no_std]
#![forbid(unsafe_code)]
// No panic that a guest can reach: what could panic does not compile.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented,
        clippy::string_slice,
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod access;
pub mod audit;
pub mod clock;
pub mod control;
pub mod debug;
pub mod domain;
pub mod event;
pub mod exit;
pub mod grant;
pub mod guest_memory;
pub mod hypercall;
pub mod lapic;
pub mod logging;
pub mod memory;
pub mod options;
pub mod outcome;
pub mod per_cpu;
pub mod sched;
pub mod start;
#[cfg(any(test, feature = "testing"))]
pub mod storm;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod vcpu;
pub mod vcpu_loop;
pub mod watchdog;

pub use start::start;
