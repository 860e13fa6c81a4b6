// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model-specific registers that exit: the virtual APIC's, the vCPU's own
//! that need a check, and a short list with fixed answers. Any other is #GP,
//! as on a CPU that does not have it; the control domain may also read the
//! host's, which its kernel looks at to know the machine.

use super::ipi;
use crate::domain::Domain;
use crate::guest_log;
use crate::lapic::{Action, MSR_FIRST, MSR_LAST};
use crate::outcome::Outcome;
use crate::sched::Handle;
use crate::vcpu::{Core, Vcpu};
use hv_hal::exit::{GENERAL_PROTECTION, gpr};
use hv_hal::{cpu, inert, irq, time};

const APIC_BASE: u32 = 0x1b;
const TSC_DEADLINE: u32 = 0x6e0;
const TSC: u32 = 0x10;

/// RDMSR.
pub fn read(domain: &Domain, core: &mut Core, index: u32) -> Outcome {
    let tpr = core.hw.tpr();
    let value = match index {
        APIC_BASE => Some(core.lapic.base()),
        TSC_DEADLINE => Some(core.lapic.tsc_deadline()),
        TSC => Some(time::now()),
        MSR_FIRST..=MSR_LAST => core.lapic.read(index, tpr, time::now()),
        _ => core.hw.msr(index).or_else(|| {
            let host = domain.is_control() && inert::host_readable(index);
            let value = if host { cpu::rdmsr_safe(index) } else { None };
            value.or_else(|| inert::constant(index))
        }),
    };
    match value {
        Some(value) => {
            core.hw.set_reg(gpr::RAX, value & 0xffff_ffff);
            core.hw.set_reg(gpr::RDX, value >> 32);
            core.hw.skip();
        }
        None => {
            // Kernels probe for registers on their way up and expect this.
            if log::log_enabled!(log::Level::Debug) {
                guest_log!(domain, "no MSR {index:#x} to read, at {:#x}", core.hw.rip());
            }
            core.hw.inject(GENERAL_PROTECTION);
        }
    }
    Outcome::Resume
}

/// WRMSR.
pub fn write(handle: &Handle, vcpu: &Vcpu, core: &mut Core, index: u32, value: u64) -> Outcome {
    let done = match index {
        // Neither the base nor the mode can be changed.
        APIC_BASE => value == core.lapic.base(),
        TSC_DEADLINE => {
            core.lapic.set_tsc_deadline(value);
            true
        }
        MSR_FIRST..=MSR_LAST => {
            let action = core.lapic.write(index, value, time::now());
            let done = act(handle, vcpu, core, action);
            core.show(index);
            done
        }
        _ => core.hw.set_msr(index, value) || inert::dropped(index, handle.domain.is_control()),
    };
    if done {
        core.hw.skip();
    } else {
        guest_log!(
            handle.domain,
            "MSR {index:#x} can't be set to {value:#x}, at {:#x}",
            core.hw.rip()
        );
        core.hw.inject(GENERAL_PROTECTION);
    }
    Outcome::Resume
}

/// Carries out what an APIC register's write asks for; false is #GP.
fn act(handle: &Handle, vcpu: &Vcpu, core: &mut Core, action: Action) -> bool {
    match action {
        Action::None => {}
        Action::Fault => return false,
        Action::Priority(tpr) => core.hw.set_tpr(tpr),
        Action::Send(icr) => ipi::send(handle, vcpu, icr),
        Action::Ended(vector) => ended(handle, vcpu, vector),
    }
    true
}

/// A vector was acknowledged: a level-triggered one of a device may come
/// again.
pub fn ended(handle: &Handle, vcpu: &Vcpu, vector: u8) {
    if handle.domain.is_control() && vcpu.take_level(vector) {
        irq::end_level(vector);
    }
}
