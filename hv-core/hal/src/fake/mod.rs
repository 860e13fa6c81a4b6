// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripted hardware for host tests: the same names as the bare machine's
//! rooms, with memory in an arena, a clock that tests move, and vCPUs that
//! play back exits.
//!
//! Each test thread has a machine of its own, so tests run in parallel;
//! [`machine::reset`] starts afresh.

pub mod boot;
pub mod cpu;
pub mod heap;
pub mod irq;
pub mod machine;
pub mod mem;
pub mod power;
pub mod serial;
pub mod time;
pub mod vcpu;
