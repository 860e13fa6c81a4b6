// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual-APIC page (SDM Vol. 3, chapter 30): where the CPU keeps TPR, and
//! with virtual-interrupt delivery the pending and the serviced interrupts.
//! Only the CPU that has the vCPU loaded touches it, and never at once with
//! the guest's run.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use super::cpu;
use super::vcpu::VmxVcpu;
use crate::vendor::vmx::layout::{field, register};
use crate::x86::mem;

/// The upper half of a vector: its priority class.
const CLASS: u64 = 0xf0;

impl VmxVcpu {
    /// A register's low 32 bits.
    pub(super) fn apic_word(&self, register: u32) -> &'static AtomicU32 {
        mem::word(self.apic, (register as usize & 0x3f) << 4)
    }

    pub(super) fn show_register(&mut self, register: u32, value: u64) {
        let at = (register as usize & 0x3f) << 4;
        mem::word(self.apic, at).store(value as u32, Relaxed);
        // RDMSR takes its upper half from here (30.5).
        mem::word(self.apic, at + 4).store((value >> 32) as u32, Relaxed);
    }

    /// The state after INIT: nothing is pending or serviced.
    pub(super) fn clear_apic(&mut self) {
        mem::zero(self.apic, 1);
        if cpu::features().controls.assist.delivery {
            self.vmcs.with(|f| {
                f.write(field::INTERRUPT_STATUS, 0);
                for part in 0..4 {
                    f.write(field::EOI_EXIT + 2 * part, 0);
                }
            });
            self.ends = [0; 4];
        }
    }

    /// VIRR gets the vectors, RVI the highest of all (30.2.1).
    pub(super) fn request_vectors(&mut self, vectors: [u64; 4]) {
        let mut highest = 0;
        for (index, word) in vectors.into_iter().enumerate() {
            for (half, bits) in [word as u32, (word >> 32) as u32].into_iter().enumerate() {
                let part = 2 * index + half;
                if let Some(bit) = bits.checked_ilog2() {
                    let requested = self.apic_word(register::REQUESTED + part as u32);
                    requested.store(requested.load(Relaxed) | bits, Relaxed);
                    highest = part as u64 * 32 + u64::from(bit);
                }
            }
        }
        self.vmcs.with(|f| {
            let status = f.read(field::INTERRUPT_STATUS);
            if highest > status & 0xff {
                f.write(field::INTERRUPT_STATUS, status & 0xff00 | highest);
            }
        });
    }

    /// RVI is above the priority that TPR and SVI make (30.1.3, 30.2.1).
    pub(super) fn requested_above_priority(&self) -> bool {
        let status = self.vmcs.with(|f| f.read(field::INTERRUPT_STATUS));
        let tpr = u64::from(self.apic_word(register::TPR).load(Relaxed)) & CLASS;
        status & CLASS > tpr.max(status >> 8 & CLASS)
    }

    /// The EOI-exit bitmap (25.6.8).
    pub(super) fn watch_vectors(&mut self, vectors: [u64; 4]) {
        if vectors == self.ends {
            return;
        }
        self.ends = vectors;
        self.vmcs.with(|f| {
            for (part, word) in vectors.into_iter().enumerate() {
                f.write(field::EOI_EXIT + 2 * part as u32, word);
            }
        });
    }
}
