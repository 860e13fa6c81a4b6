// SPDX-License-Identifier: MIT OR Apache-2.0
//! VT-x (SDM Vol. 3, chapters 24 to 31). `cpu` finds and enables it, `entry`
//! is the world switch, `setup`, `run` and `vcpu` join them to what
//! `vendor::vmx` knows. What AMD-V keeps in its block or its CPU and VT-x does
//! not: `fields` (the VMCS is reached by instructions), `host` (state of the
//! host), `control` and `live` (registers that software has to switch).
//! `apic` is the page in which the CPU keeps the virtual APIC.

mod apic;
mod control;
mod cpu;
mod entry;
mod fields;
mod host;
mod live;
mod run;
mod setup;
mod vcpu;

pub use cpu::{assist, enable_cpu, present, probe};
pub use vcpu::VmxVcpu;
