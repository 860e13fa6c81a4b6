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
use hv_hal::{cpu, irq, time};

const APIC_BASE: u32 = 0x1b;
const TSC_DEADLINE: u32 = 0x6e0;
const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const BIOS_SIGNATURE: u32 = 0x8b;
const MTRR_CAP: u32 = 0xfe;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const AMD_HWCR: u32 = 0xc001_0015;
const AMD_SYSCFG: u32 = 0xc001_0010;
const AMD_PATCH_LEVEL: u32 = 0x8b;
const AMD_DE_CFG: u32 = 0xc001_1029;
const AMD_INT_PENDING: u32 = 0xc001_0055;
const AMD_NB_CFG: u32 = 0xc001_001f;
const AMD_LS_CFG: u32 = 0xc001_1020;
const AMD_BP_CFG: u32 = 0xc001_1028;

/// Fixed answers for guests.
fn constant(index: u32) -> Option<u64> {
    match index {
        PLATFORM_ID | BIOS_SIGNATURE | MTRR_CAP | MCG_CAP | MCG_STATUS | MTRR_DEF_TYPE => Some(0),
        // Fast strings on (SDM Vol. 4, table 2-2).
        MISC_ENABLE => Some(1),
        // The TSC runs at the P0 frequency (AMD PPR, HWCR bit 24).
        AMD_HWCR => Some(1 << 24),
        AMD_SYSCFG | AMD_INT_PENDING | AMD_NB_CFG | AMD_LS_CFG | AMD_BP_CFG => Some(0),
        // LFENCE is serializing (AMD, "Software techniques for managing
        // speculation").
        AMD_DE_CFG => Some(2),
        _ => None,
    }
}

/// Registers whose host value the control domain may read.
fn host_readable(index: u32) -> bool {
    matches!(index,
        PLATFORM_ID | AMD_PATCH_LEVEL | MTRR_CAP | MTRR_DEF_TYPE
        | 0x200..=0x21f | 0x250 | 0x258 | 0x259 | 0x268..=0x26f
        | 0xce | 0x19c | 0x1a2 | 0x606 | AMD_SYSCFG | AMD_INT_PENDING
        | 0xc001_001a | 0xc001_001d | 0xc001_0058 | 0xc001_0063 | 0xc001_0064..=0xc001_006b)
}

/// Writes that are taken and dropped: what a kernel sets on its way up and
/// the core has already decided for all.
fn ignored(domain: &Domain, index: u32) -> bool {
    let for_all = matches!(
        index,
        BIOS_SIGNATURE
            | MISC_ENABLE
            | AMD_HWCR
            | AMD_SYSCFG
            | AMD_DE_CFG
            | AMD_INT_PENDING
            | AMD_NB_CFG
            | AMD_LS_CFG
            | AMD_BP_CFG
            | MCG_STATUS
            | 0x79
    );
    let for_control =
        matches!(index, MTRR_DEF_TYPE | 0x200..=0x21f | 0x250 | 0x258 | 0x259 | 0x268..=0x26f);
    for_all || domain.is_control() && for_control
}

/// RDMSR.
pub fn read(domain: &Domain, core: &mut Core, index: u32) -> Outcome {
    let tpr = core.hw.tpr();
    let value = match index {
        APIC_BASE => Some(core.lapic.base()),
        TSC_DEADLINE => Some(core.lapic.tsc_deadline()),
        TSC => Some(time::now()),
        MSR_FIRST..=MSR_LAST => core.lapic.read(index, tpr, time::now()),
        _ => core.hw.msr(index).or_else(|| {
            let host = domain.is_control() && host_readable(index);
            let value = if host { cpu::rdmsr_safe(index) } else { None };
            value.or_else(|| constant(index))
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
            act(handle, vcpu, core, action)
        }
        _ => core.hw.set_msr(index, value) || ignored(&handle.domain, index),
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
        Action::Ended(vector) => {
            if handle.domain.is_control() && vcpu.take_level(vector) {
                irq::end_level(vector);
            }
        }
    }
    true
}
