// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VMCS is filled with once and for all: which instructions and events
//! end a run (SDM Vol. 3, 25.6 to 25.8).

use super::cpu;
use super::fields::Vmcs;
use crate::addr::Frame;
use crate::exit::Role;
use crate::vendor::ports::SECOND_HALF;
use crate::vendor::vmx::layout::{field, secondary};
use crate::x86::{irq, maps};

/// #DB, #AC, #MC. The first two always (a guest could make the CPU deliver
/// them without end: Xen's XSA-156), the last as it is the machine's.
const EXCEPTIONS: u64 = 1 << 1 | 1 << 17 | 1 << 18;
/// PAUSEs at most this many cycles apart are one loop, and a loop as long as
/// the window exits (SDM Vol. 3, 25.6.13).
const PLE_GAP: u64 = 128;
const PLE_WINDOW: u64 = 4096;

/// Fills it for a vCPU of this role. `apic`: the virtual-APIC page.
pub fn fill(vmcs: &Vmcs, role: Role, eptp: u64, apic: Frame) {
    let controls = &cpu::features().controls;
    let mut second = controls.secondary;
    // The control domain owns the machine's caches; a guest's flush would
    // only hurt others.
    if role == Role::Control {
        second &= !secondary::WBINVD;
    }
    let (ports, msrs) = maps::of(role);
    vmcs.with(|f| {
        f.write(field::PIN, controls.pin.into());
        f.write(field::PRIMARY, controls.primary.into());
        f.write(field::SECONDARY, second.into());
        f.write(field::EXIT, controls.exit.into());
        f.write(field::ENTRY, controls.entry.into());
        f.write(field::EXCEPTIONS, EXCEPTIONS);
        for zero in [
            field::FAULT_MASK,
            field::FAULT_MATCH,
            field::CR3_TARGETS,
            field::EXIT_STORE_COUNT,
            field::EXIT_LOAD_COUNT,
            field::ENTRY_LOAD_COUNT,
            field::ENTRY_EVENT,
            field::TSC_OFFSET,
        ] {
            f.write(zero, 0);
        }
        f.write(field::IO_BITMAP_A, ports);
        f.write(field::IO_BITMAP_B, ports + SECOND_HALF);
        f.write(field::MSR_BITMAP, msrs);
        f.write(field::EPTP, eptp);
        f.write(field::LINK, u64::MAX);
        if controls.assist.tpr {
            f.write(field::VIRTUAL_APIC, apic.address());
            f.write(field::TPR_THRESHOLD, 0);
        }
        if controls.assist.posting {
            f.write(field::POSTED_VECTOR, irq::POSTED.into());
        }
        if controls.timer {
            // Not saved at an exit, so each run begins with it anew.
            f.write(field::TIMER, cpu::features().timer.into());
        }
        if second & secondary::PAUSE_LOOP != 0 {
            f.write(field::PLE_GAP, PLE_GAP);
            f.write(field::PLE_WINDOW, PLE_WINDOW);
        }
        if second & secondary::XSAVES != 0 {
            // XSS stays 0: no component of it can be asked for.
            f.write(field::XSS_EXITING, 0);
        }
        if second & secondary::ENCLS != 0 {
            f.write(field::ENCLS_EXITING, u64::MAX);
        }
    });
}
