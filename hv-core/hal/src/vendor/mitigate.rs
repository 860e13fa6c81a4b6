// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which speculation barriers this CPU needs: one decision table, from what
//! CPUID and IA32_ARCH_CAPABILITIES tell.
//!
//! A CPU, or an emulator, that knows none of the features involved needs
//! nothing, or can't be helped by it. Guests are told of none of these
//! features, so they don't set SPEC_CTRL themselves.

/// What the CPU tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// CPUID 7, EDX (SDM Vol. 2, CPUID).
    pub edx_7: u32,
    /// CPUID 8000_0008, EBX (APM Vol. 3, E.4.7).
    pub ebx_8: u32,
    /// CPUID 8000_0021, EAX (E.4.17).
    pub eax_21: u32,
    /// IA32_ARCH_CAPABILITIES (SDM Vol. 4, 2.1); 0 where there is none.
    pub capabilities: u64,
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Barriers {
    /// Indirect branch predictors are emptied when another domain's vCPU comes
    /// to a CPU (PRED_CMD.IBPB).
    pub predictors: bool,
    /// The return stack is filled after each exit.
    pub returns: bool,
    /// VERW overwrites the CPU's buffers before each entry (MDS, TAA, MMIO
    /// stale data; TSA on AMD).
    pub buffers: bool,
    /// L1D is flushed before each entry (L1TF).
    pub l1d: bool,
    /// IBRS is set once and for all: the CPU is made for that.
    pub ibrs: bool,
    /// The same on AMD: EFER.AIBRSE.
    pub automatic_ibrs: bool,
}

/// CPUID bits.
mod bit {
    pub const MD_CLEAR: u32 = 1 << 10;
    pub const IBRS_IBPB: u32 = 1 << 26;
    pub const FLUSH_L1D: u32 = 1 << 28;
    pub const AMD_IBPB: u32 = 1 << 12;
    pub const AMD_VERW: u32 = 1 << 5;
    pub const AMD_AUTOMATIC_IBRS: u32 = 1 << 8;
}

/// IA32_ARCH_CAPABILITIES.
mod capability {
    pub const RDCL_NO: u64 = 1 << 0;
    pub const IBRS_ALL: u64 = 1 << 1;
    pub const SKIP_L1D: u64 = 1 << 3;
    pub const MDS_NO: u64 = 1 << 5;
    pub const TAA_NO: u64 = 1 << 8;
    /// SBDR_SSDP_NO, FBSDP_NO, PSDP_NO.
    pub const STALE_NO: u64 = 7 << 13;
}

/// The table.
pub fn decide(told: &Told) -> Barriers {
    let has = |word: u32, bit: u32| word & bit != 0;
    let says = |bits: u64| told.capabilities & bits == bits;
    let predictors = has(told.edx_7, bit::IBRS_IBPB) || has(told.ebx_8, bit::AMD_IBPB);
    let safe = says(capability::MDS_NO | capability::TAA_NO | capability::STALE_NO);
    Barriers {
        predictors,
        returns: predictors,
        buffers: has(told.edx_7, bit::MD_CLEAR) && !safe || has(told.eax_21, bit::AMD_VERW),
        l1d: has(told.edx_7, bit::FLUSH_L1D)
            && !says(capability::RDCL_NO)
            && !says(capability::SKIP_L1D),
        ibrs: has(told.edx_7, bit::IBRS_IBPB) && says(capability::IBRS_ALL),
        automatic_ibrs: has(told.eax_21, bit::AMD_AUTOMATIC_IBRS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulators_need_nothing() {
        assert_eq!(decide(&Told::default()), Barriers::default());
    }

    #[test]
    fn a_cpu_of_2015_with_new_microcode_needs_everything() {
        let told = Told { edx_7: 0x9c00_0400, ..Told::default() };
        let all = Barriers {
            predictors: true,
            returns: true,
            buffers: true,
            l1d: true,
            ..Barriers::default()
        };
        assert_eq!(decide(&told), all);
    }

    #[test]
    fn a_cpu_that_is_safe_is_left_alone() {
        let safe = 1 | 2 | 1 << 3 | 1 << 5 | 1 << 8 | 7 << 13;
        let told = Told { edx_7: 0xbc00_0400, capabilities: safe, ..Told::default() };
        let few = Barriers { predictors: true, returns: true, ibrs: true, ..Barriers::default() };
        assert_eq!(decide(&told), few);
        let told = Told { capabilities: safe & !(1 << 8), ..told };
        assert!(decide(&told).buffers, "TAA");
    }

    #[test]
    fn amd() {
        let told = Told { ebx_8: 1 << 12, eax_21: 1 << 8 | 1 << 5, ..Told::default() };
        let few = Barriers {
            predictors: true,
            returns: true,
            buffers: true,
            automatic_ibrs: true,
            ..Barriers::default()
        };
        assert_eq!(decide(&told), few);
    }
}
