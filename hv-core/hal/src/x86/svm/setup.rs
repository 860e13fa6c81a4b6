// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a control block is filled with once and for all: which instructions
//! and events end a run (APM Vol. 2, 15.7 to 15.14).

use super::cpu;
use crate::addr::Frame;
use crate::exit::Role;
use crate::vendor::svm::layout::{Control, NESTED_ENABLE, misc1, misc2, vintr};
use crate::x86::maps;

/// #DB, #AC, #MC. The first two always (a guest could make the CPU deliver
/// them without end: Xen's XSA-156), the last as it is the machine's.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;
/// Intercepts of every vCPU (APM Vol. 2, 15.9, 15.13).
const MISC1: u32 = misc1::INTR
    | misc1::NMI
    | misc1::INIT
    | misc1::RDPMC
    | misc1::CPUID
    | misc1::RSM
    | misc1::INVD
    | misc1::HLT
    | misc1::INVLPGA
    | misc1::IOIO
    | misc1::MSR
    | misc1::SHUTDOWN;
const MISC2: u32 = misc2::VMRUN
    | misc2::VMMCALL
    | misc2::VMLOAD
    | misc2::VMSAVE
    | misc2::STGI
    | misc2::CLGI
    | misc2::SKINIT
    | misc2::MONITOR
    | misc2::MWAIT
    | misc2::MWAIT_ARMED
    | misc2::XSETBV
    | misc2::RDPRU;
/// PAUSEs in a row, each within the threshold's cycles of the last, that make
/// an exit (15.14.4); plain spinning of a short lock stays below.
const PAUSE_COUNT: u16 = 3000;
const PAUSE_THRESHOLD: u16 = 128;

/// Fills it for a vCPU of this role, on the nested tables of this root.
pub fn fill(control: &mut Control, role: Role, root: Frame) {
    let features = cpu::features();
    let (ports, msrs) = maps::of(role);
    control.intercept_exceptions = EXCEPTIONS;
    control.intercept_misc1 = MISC1;
    control.intercept_misc2 = MISC2;
    // The control domain owns the machine's caches, but may not throw
    // away what others wrote (INVD); a guest's flush would only hurt
    // others (15.13).
    if role == Role::Guest {
        control.intercept_misc2 |= misc2::WBINVD;
    }
    if features.pause_count {
        control.intercept_misc1 |= misc1::PAUSE;
        control.pause_count = PAUSE_COUNT;
        control.pause_threshold = if features.pause_threshold { PAUSE_THRESHOLD } else { 0 };
    }
    control.iopm = ports;
    control.msrpm = msrs;
    control.vintr = vintr::MASKING;
    control.nested = NESTED_ENABLE;
    control.nested_cr3 = root.address();
}
