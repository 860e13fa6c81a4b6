// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bits and numbers of registers that both vendors share (SDM Vol. 3, 2.5;
//! SDM Vol. 4, 2.1; APM Vol. 2, 3.1, appendix A).

#![allow(missing_docs, dead_code, reason = "names and bits as the manuals have them")]

pub mod cr0 {
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

pub mod cr4 {
    pub const VME: u64 = 1 << 0;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const VMXE: u64 = 1 << 13;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    pub const PKE: u64 = 1 << 22;
}

pub mod efer {
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
    pub const SVME: u64 = 1 << 12;
    pub const FFXSR: u64 = 1 << 14;
}

pub mod rflags {
    pub const FIXED: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const VM: u64 = 1 << 17;
    /// Always 0: bits 63:22, 15, 5, 3.
    pub const RESERVED: u64 = !0x3f_ffff | 1 << 15 | 1 << 5 | 1 << 3;
}

pub mod dr6 {
    /// Bits that read as 1, and nothing pending.
    pub const RESET: u64 = 0xffff_0ff0;
    /// Single step.
    pub const BS: u64 = 1 << 14;
}

pub mod dr7 {
    /// Bit 10 reads as 1.
    pub const RESET: u64 = 0x400;
    /// General detect.
    pub const GD: u64 = 1 << 13;
}

pub mod xcr0 {
    pub const X87: u64 = 1 << 0;
    pub const SSE: u64 = 1 << 1;
    pub const AVX: u64 = 1 << 2;
    /// Opmask, ZMM_Hi256, Hi16_ZMM: all or none.
    pub const AVX512: u64 = 7 << 5;
    pub const PKRU: u64 = 1 << 9;
    /// What domains may ever have; the rest is not known to be switched well.
    pub const ALLOWED: u64 = X87 | SSE | AVX | AVX512 | PKRU;
}

pub mod msr {
    pub const TSC: u32 = 0x10;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const PAT: u32 = 0x277;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const SFMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
    /// Opened to every domain without exits: state of the vCPU that the hal
    /// or the CPU switches. SDM Vol. 4, 2.1; APM Vol. 2, 15.11.
    pub const OPEN: [u32; 12] = [
        SYSENTER_CS,
        SYSENTER_ESP,
        SYSENTER_EIP,
        PAT,
        STAR,
        LSTAR,
        CSTAR,
        SFMASK,
        FS_BASE,
        GS_BASE,
        KERNEL_GS_BASE,
        TSC_AUX,
    ];
}

/// PAT after reset: WB WT UC- UC, twice (SDM Vol. 3, 12.12.4).
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;

/// Every entry is one of UC, WC, WT, WP, WB, UC- (SDM Vol. 3, table 12-10).
pub fn valid_pat(pat: u64) -> bool {
    pat.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4 | 5 | 6 | 7))
}

/// Bits 63 to `bits`-1 are all the same (SDM Vol. 1, 3.3.7.1).
pub fn canonical(address: u64, bits: u32) -> bool {
    let unused = 64 - bits;
    ((address << unused) as i64 >> unused) as u64 == address
}

/// For an address that is not canonical, the nearest in form that is: its
/// upper bits are copies of the highest that counts.
pub fn made_canonical(address: u64, bits: u32) -> Option<u64> {
    let unused = 64 - bits;
    let near = ((address << unused) as i64 >> unused) as u64;
    (near != address).then_some(near)
}

/// XSETBV would take it (SDM Vol. 1, 13.3) and `allowed` covers it.
pub fn valid_xcr0(value: u64, allowed: u64) -> bool {
    let avx512 = value & xcr0::AVX512;
    value & !(allowed & xcr0::ALLOWED) == 0
        && value & xcr0::X87 != 0
        && (value & xcr0::AVX == 0 || value & xcr0::SSE != 0)
        && (avx512 == 0 || avx512 == xcr0::AVX512 && value & xcr0::AVX != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_pointer_leaves_the_hole() {
        assert_eq!(made_canonical(0x7fff_ffff_ffff, 48), None);
        assert_eq!(made_canonical(0x8000_0000_0000, 48), Some(0xffff_8000_0000_0000));
        assert_eq!(made_canonical(0x8000_0000_0001, 57), None);
    }

    #[test]
    fn canonical_addresses() {
        for good in [0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
            assert!(canonical(good, 48));
        }
        for bad in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 1 << 63] {
            assert!(!canonical(bad, 48));
        }
        assert!(canonical(0x8000_0000_0000, 57));
    }

    #[test]
    fn extended_control_register() {
        let all = xcr0::ALLOWED;
        for good in [1, 3, 7, 0xe7, 0x2e7, 0x203] {
            assert!(valid_xcr0(good, all), "{good:#x}");
        }
        for bad in [0, 2, 5, 6, 0x27, 0xe3, 0x60007, 1 << 63 | 1] {
            assert!(!valid_xcr0(bad, all), "{bad:#x}");
        }
        assert!(!valid_xcr0(7, 3));
    }

    #[test]
    fn memory_types() {
        assert!(valid_pat(PAT_RESET));
        assert!(!valid_pat(2) && !valid_pat(3 << 56) && !valid_pat(8));
    }
}
