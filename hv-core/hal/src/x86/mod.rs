// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bare x86-64 machine.
//!
//! Public rooms are those of the crate's door; the others serve them:
//! `paging` (the core's own address space), `percpu`, `desc` and `trap` (what
//! each CPU needs to take an interrupt), `fault` (the last report), `apic`,
//! `pic`, `clock` (reference clocks), `acpi_memory`, `smp`.

mod acpi_memory;
mod apic;
mod barrier;
pub mod boot;
mod clock;
pub mod cpu;
mod desc;
pub mod fault;
pub mod heap;
mod host_page;
pub mod irq;
mod maps;
pub mod mem;
mod paging;
mod percpu;
mod pic;
pub mod power;
pub mod serial;
mod smp;
mod svm;
mod tags;
pub mod time;
mod trap;
pub mod vcpu;
mod vcpu_dump;
mod vmx;
mod xstate;
