// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VMCS, reached by VMREAD and VMWRITE (SDM Vol. 3, 25.1, 31.3).
//!
//! These work on the CPU's current VMCS only. [`Vmcs::with`] makes this one
//! current for a moment when it is not loaded, and puts back the CPU's own.
// UNSAFETY: VMX instructions.
#![allow(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu::features;
use crate::addr::{CpuId, Frame};
use crate::vendor::vmx::layout::{field, instruction_error};
use crate::x86::percpu::MAX_CPUS;
use crate::x86::{cpu, mem};

/// The VMCS that each CPU has loaded, by machine address; 0: none.
static CURRENT: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// The current VMCS.
pub struct Fields(());

/// A vCPU's VMCS.
pub struct Vmcs {
    frame: Frame,
    loaded: Option<CpuId>,
}

fn fail(what: &str, field: u32, failed: u8) -> ! {
    panic!("vmx: {what} of field {field:#x} fails ({failed})");
}

impl Fields {
    /// VMREAD. A field that this CPU has not is the core's own error.
    pub fn read(&self, field: u32) -> u64 {
        let (value, failed): (u64, u8);
        // SAFETY: reads; a VMCS is current whenever a `Fields` exists.
        unsafe {
            asm!("vmread {}, {}", "setbe {}", out(reg) value, in(reg) u64::from(field),
                out(reg_byte) failed, options(nostack));
        }
        if failed != 0 {
            fail("VMREAD", field, failed);
        }
        value
    }

    /// VMREAD of a field that has 32 bits.
    pub fn word(&self, field: u32) -> u32 {
        self.read(field) as u32
    }

    /// VMWRITE, likewise.
    pub fn write(&mut self, field: u32, value: u64) {
        let failed: u8;
        // SAFETY: changes the current VMCS, which is this vCPU's own; what the
        // guest can do by it is limited by EPT and the checks at entry.
        unsafe {
            asm!("vmwrite {}, {}", "setbe {}", in(reg) u64::from(field), in(reg) value,
                out(reg_byte) failed, options(nostack));
        }
        if failed != 0 {
            fail("VMWRITE", field, failed);
        }
    }

    /// Why the last VMX instruction failed.
    pub fn error(&self) -> (&'static str, u64) {
        let number = self.read(field::INSTRUCTION_ERROR);
        (instruction_error(number), number)
    }
}

fn current(here: CpuId) -> &'static AtomicU64 {
    match CURRENT.get(here.0 as usize) {
        Some(current) => current,
        None => panic!("vmx: CPU {} is not enabled", here.0),
    }
}

/// VMPTRLD (24.1): makes it current.
fn point(address: u64) {
    let failed: u8;
    // SAFETY: the address is of a VMCS with the right revision that no other
    // CPU has active: `Vmcs` clears it when it is unloaded.
    unsafe {
        asm!("vmptrld [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed,
            options(nostack));
    }
    assert!(failed == 0, "vmx: VMPTRLD of {address:#x} fails");
}

/// VMCLEAR: writes it to memory; it has to be launched again.
fn clear(address: u64) {
    let failed: u8;
    // SAFETY: as above; it only ends what `point` began.
    unsafe {
        asm!("vmclear [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed,
            options(nostack));
    }
    assert!(failed == 0, "vmx: VMCLEAR of {address:#x} fails");
}

impl Vmcs {
    /// Makes one in this frame, which is full of zeros.
    pub fn new(frame: Frame) -> Self {
        mem::write(frame, 0, &features().revision.to_le_bytes());
        clear(frame.address());
        Self { frame, loaded: None }
    }

    /// The frame it is in.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// The CPU it is loaded on.
    pub fn loaded(&self) -> Option<CpuId> {
        self.loaded
    }

    /// Makes it this CPU's, until [`unload`](Self::unload).
    pub fn load(&mut self) {
        let here = cpu::current();
        assert!(self.loaded.is_none(), "vmx: loaded twice");
        point(self.frame.address());
        current(here).store(self.frame.address(), Ordering::Relaxed);
        self.loaded = Some(here);
    }

    /// Another CPU may load it from now on.
    pub fn unload(&mut self) {
        if let Some(here) = self.loaded.take() {
            clear(self.frame.address());
            current(here).store(0, Ordering::Relaxed);
        }
    }

    /// Its fields, if it is loaded on this CPU. Not to be kept over `unload`.
    pub fn here(&self) -> Option<Fields> {
        (self.loaded == Some(cpu::current())).then_some(Fields(()))
    }

    /// Works on its fields, loaded or not.
    pub fn with<R>(&self, work: impl FnOnce(&mut Fields) -> R) -> R {
        let here = cpu::current();
        if let Some(loaded) = self.loaded {
            assert!(loaded == here, "vmx: a vCPU of CPU {} touched from {}", loaded.0, here.0);
            return work(&mut Fields(()));
        }
        point(self.frame.address());
        let result = work(&mut Fields(()));
        clear(self.frame.address());
        let own = current(here).load(Ordering::Relaxed);
        if own != 0 {
            point(own);
        }
        result
    }
}
