// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts from one vCPU to others of its domain.

use crate::guest_log;
use crate::lapic::Command;
use crate::sched::{self, Handle};
use crate::vcpu::{Vcpu, signal};
use core::sync::atomic::Ordering;

/// Carries out an interrupt command.
pub fn send(handle: &Handle, sender: &Vcpu, icr: u64) {
    let command = Command::decode(icr);
    if command.deassert {
        return;
    }
    let domain = &handle.domain;
    for (index, vcpu) in domain.vcpus.iter().enumerate() {
        if !command.reaches(vcpu.apic_id, sender.apic_id) {
            continue;
        }
        let posted = match command.mode {
            0 | 1 if command.vector >= 16 => vcpu.post(command.vector),
            4 => signal(vcpu, signal::NMI),
            5 => signal(vcpu, signal::INIT),
            6 => {
                let page = u32::from(command.vector) << signal::SIPI_SHIFT;
                signal(vcpu, signal::SIPI | page)
            }
            mode => {
                guest_log!(
                    domain,
                    "interrupt command of mode {mode}, vector {:#x} ignored",
                    command.vector
                );
                return;
            }
        };
        if posted {
            sched::notify(domain, index);
        }
        if command.mode == 1 {
            // Lowest priority: one is enough.
            return;
        }
    }
}

fn signal(vcpu: &Vcpu, bits: u32) -> bool {
    vcpu.signals.fetch_or(bits, Ordering::SeqCst);
    true
}
