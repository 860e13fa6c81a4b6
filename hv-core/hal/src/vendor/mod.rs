// SPDX-License-Identifier: MIT OR Apache-2.0
//! What AMD-V and VT-x want to see in memory and registers, as values: no
//! instruction is executed here, so all of it is tested on a host.
//!
//! The twins [`svm`] and [`vmx`] have the same files: `layout` (names of
//! fields and bits), `permit` (the bitmap of MSRs), `decode` (exit to
//! [`Exit`](crate::exit::Exit)), `state` (registers to and from a
//! [`VcpuContext`](hv_abi::vcpu::VcpuContext)), `check` (what the CPU checks
//! at entry, under the manual's names). `x86::svm` and `x86::vmx` execute.

pub mod context;
pub mod mitigate;
pub mod ports;
pub mod queue;
pub mod regs;
pub mod svm;
pub mod tags;
pub mod vmx;

#[cfg(test)]
mod agree_tests;
