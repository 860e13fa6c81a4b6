// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model-specific registers that do nothing in a domain, under their makers'
//! names: what they read as, and which writes are dropped. Kernels touch them
//! on their way up, on the maker's CPUs only, and expect that they are there.
//!
//! The kernel crate, which knows no maker, asks here after everything else;
//! what no table has is #GP.

const PLATFORM_ID: u32 = 0x17;
const BIOS_UPDATE_TRIGGER: u32 = 0x79;
const BIOS_SIGNATURE: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const MTRR_CAP: u32 = 0xfe;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const THERMAL_STATUS: u32 = 0x19c;
const MISC_ENABLE: u32 = 0x1a0;
const TEMPERATURE_TARGET: u32 = 0x1a2;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const RAPL_POWER_UNIT: u32 = 0x606;
const AMD_SYSCFG: u32 = 0xc001_0010;
const AMD_HWCR: u32 = 0xc001_0015;
const AMD_TOP_MEM: u32 = 0xc001_001a;
const AMD_TOP_MEM2: u32 = 0xc001_001d;
const AMD_NB_CFG: u32 = 0xc001_001f;
const AMD_INT_PENDING: u32 = 0xc001_0055;
const AMD_MMIO_CFG: u32 = 0xc001_0058;
const AMD_PSTATE_STATUS: u32 = 0xc001_0063;
const AMD_PSTATE_LAST: u32 = 0xc001_006b;
const AMD_LS_CFG: u32 = 0xc001_1020;
const AMD_BP_CFG: u32 = 0xc001_1028;
const AMD_DE_CFG: u32 = 0xc001_1029;

/// Fixed answers, to all domains.
pub fn constant(index: u32) -> Option<u64> {
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

fn memory_type_range(index: u32) -> bool {
    matches!(index, MTRR_DEF_TYPE | 0x200..=0x21f | 0x250 | 0x258 | 0x259 | 0x268..=0x26f)
}

/// Registers whose host value the control domain may read.
pub fn host_readable(index: u32) -> bool {
    memory_type_range(index)
        || matches!(
            index,
            PLATFORM_ID
                | BIOS_SIGNATURE
                | MTRR_CAP
                | PLATFORM_INFO
                | THERMAL_STATUS
                | TEMPERATURE_TARGET
                | RAPL_POWER_UNIT
                | AMD_SYSCFG
                | AMD_INT_PENDING
                | AMD_TOP_MEM
                | AMD_TOP_MEM2
                | AMD_MMIO_CFG
                | AMD_PSTATE_STATUS..=AMD_PSTATE_LAST
        )
}

/// Writes that are taken and dropped: what a kernel sets on its way up and
/// the core has already decided for all. `control`: by the control domain.
pub fn dropped(index: u32, control: bool) -> bool {
    let for_all = matches!(
        index,
        BIOS_UPDATE_TRIGGER
            | BIOS_SIGNATURE
            | MISC_ENABLE
            | MCG_STATUS
            | AMD_HWCR
            | AMD_SYSCFG
            | AMD_DE_CFG
            | AMD_INT_PENDING
            | AMD_NB_CFG
            | AMD_LS_CFG
            | AMD_BP_CFG
    );
    for_all || control && memory_type_range(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_see_no_host_value_and_change_no_memory_type() {
        assert_eq!(constant(PLATFORM_INFO), None);
        assert_eq!(constant(AMD_DE_CFG), Some(2));
        assert!(host_readable(0x20f) && host_readable(AMD_PSTATE_STATUS + 1));
        assert!(!host_readable(AMD_PSTATE_LAST + 1) && !host_readable(0x277));
        assert!(dropped(0x200, true) && !dropped(0x200, false));
        assert!(dropped(BIOS_UPDATE_TRIGGER, false) && !dropped(AMD_TOP_MEM, true));
    }
}
