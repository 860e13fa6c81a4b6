// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hardware, behind one door: the only crate of the core with unsafe
//! code.
//!
//! On the bare machine the rooms [`boot`], [`cpu`], [`heap`], [`irq`],
//! [`mem`], [`power`], [`serial`], [`time`] and [`vcpu`] are those of `x86`;
//! on a host they are those of `fake`, scripted hardware of the same shape,
//! so that everything above runs under `cargo test`. [`addr`], [`exit`] and
//! [`stage2`] are pure and common.
//!
//! The core runs with interrupts off, except in [`cpu::idle`] and for the
//! instant in which a vCPU's exit lets a pending interrupt in.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod acpi;
pub mod addr;
pub mod assist;
pub mod bootinfo;
pub mod exit;
pub mod inert;
pub mod mailbox;
pub mod multiboot;
pub mod stage2;
#[cfg_attr(
    not(target_os = "none"),
    allow(dead_code, reason = "only x86 executes it; a host tests it")
)]
mod vendor;

#[cfg(not(target_os = "none"))]
pub mod fake;
#[cfg(not(target_os = "none"))]
pub use fake::{boot, cpu, heap, irq, mem, power, serial, time, vcpu};

#[cfg(target_os = "none")]
mod x86;
#[cfg(target_os = "none")]
pub use x86::{boot, cpu, fault, heap, irq, mem, power, serial, time, vcpu};
