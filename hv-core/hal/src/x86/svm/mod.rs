// SPDX-License-Identifier: MIT OR Apache-2.0
//! AMD-V (APM Vol. 2, chapter 15). `cpu` finds and enables it, `entry` is the
//! world switch, `setup`, `run` and `vcpu` join them to what `vendor::svm`
//! knows.

mod cpu;
mod entry;
mod priority;
mod run;
mod setup;
mod vcpu;

pub use cpu::{enable_cpu, present, probe};
pub use vcpu::SvmVcpu;
