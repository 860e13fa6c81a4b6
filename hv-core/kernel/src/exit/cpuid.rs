// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID, by allow-list: a bit is shown when a domain can use it and the
//! host has it. What is not named here reads as zero.

use crate::domain::Domain;
use crate::outcome::Outcome;
use crate::vcpu::{Core, Vcpu};
use hv_abi::ABI_VERSION;
use hv_abi::cpuid::{
    LEAF_BASE, LEAF_FEATURES, LEAF_LAST, LEAF_START_INFO, LEAF_TIMING, SIGNATURE, features,
};
use hv_hal::exit::gpr;
use hv_hal::{cpu, time, vcpu};

/// Leaf 1, ecx (SDM Vol. 2, CPUID): SSE3, PCLMULQDQ, SSSE3, FMA, CX16, PCID,
/// SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, AVX, F16C, RDRAND.
const FEATURES_1C: u32 = 1 << 0
    | 1 << 1
    | 1 << 9
    | 1 << 12
    | 1 << 13
    | 1 << 17
    | 1 << 19
    | 1 << 20
    | 1 << 22
    | 1 << 23
    | 1 << 25
    | 1 << 26
    | 1 << 28
    | 1 << 29
    | 1 << 30;
/// Always shown in leaf 1, ecx: x2APIC, TSC deadline, hypervisor present.
const FORCED_1C: u32 = 1 << 21 | 1 << 24 | 1 << 31;
/// OSXSAVE: mirrors CR4.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1, edx: FPU VME DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36
/// CLFSH MMX FXSR SSE SSE2.
const FEATURES_1D: u32 = 1 << 0
    | 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 9
    | 1 << 11
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26;
/// MTRR: only the control domain, which reads the host's.
const MTRR: u32 = 1 << 12;
/// Leaf 7, ebx: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP
/// CLFLUSHOPT CLWB SHA, and AVX-512 F DQ IFMA CD BW VL.
const FEATURES_7B: u32 = 1 << 0
    | 1 << 3
    | 1 << 5
    | 1 << 7
    | 1 << 8
    | 1 << 9
    | 1 << 10
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 23
    | 1 << 24
    | 1 << 29
    | 1 << 16
    | 1 << 17
    | 1 << 21
    | 1 << 28
    | 1 << 30
    | 1 << 31;
/// Leaf 7, ecx: AVX512-VBMI, UMIP, PKU, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI,
/// BITALG, VPOPCNTDQ, RDPID.
const FEATURES_7C: u32 = 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 6
    | 1 << 8
    | 1 << 9
    | 1 << 10
    | 1 << 11
    | 1 << 12
    | 1 << 14
    | 1 << 22;
/// OSPKE: mirrors CR4.
const OSPKE: u32 = 1 << 4;
/// Leaf 7, edx: FSRM, MD_CLEAR (an instruction's effect, not a register).
const FEATURES_7D: u32 = 1 << 4 | 1 << 10;
/// Leaf 0x8000_0001, ecx: LAHF, ABM, SSE4A, misaligned SSE, prefetch, XOP,
/// FMA4, TBM.
const FEATURES_X1C: u32 = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 16 | 1 << 21;
/// Leaf 0x8000_0001, edx: the common part, SYSCALL, NX, MMXEXT, FXSR_OPT,
/// 1 GiB pages, RDTSCP, long mode, 3DNow.
const FEATURES_X1D: u32 = 0x0183_f3ff & !(1 << 7 | 1 << 12)
    | 1 << 11
    | 1 << 20
    | 1 << 22
    | 1 << 25
    | 1 << 26
    | 1 << 27
    | 1 << 29;

/// Handles CPUID.
pub fn handle(domain: &Domain, vcpu: &Vcpu, core: &mut Core) -> Outcome {
    let leaf = core.hw.reg(gpr::RAX) as u32;
    let sub = core.hw.reg(gpr::RCX) as u32;
    let [a, b, c, d] = answer(domain, vcpu, core, leaf, sub);
    core.hw.set_reg(gpr::RAX, a.into());
    core.hw.set_reg(gpr::RBX, b.into());
    core.hw.set_reg(gpr::RCX, c.into());
    core.hw.set_reg(gpr::RDX, d.into());
    core.hw.skip();
    Outcome::Resume
}

fn answer(domain: &Domain, vcpu: &Vcpu, core: &mut Core, leaf: u32, sub: u32) -> [u32; 4] {
    match leaf {
        0x4000_0000..=0x4000_00ff => own(domain, leaf),
        0x8000_0000..=0x8fff_ffff => extended(domain, vcpu, leaf, sub),
        0xd => xsave(core.hw.xcr0(), sub),
        _ => basic(domain, vcpu, core.hw.cr4(), leaf, sub),
    }
}

/// What the caller is told in ebx of the features leaf.
pub fn features(domain: &Domain) -> u32 {
    let control = if domain.is_control() { features::CONTROL } else { 0 };
    control | features::STABLE_TSC | features::GRANTS | features::POLL
}

/// The core's own leaves.
fn own(domain: &Domain, leaf: u32) -> [u32; 4] {
    match leaf {
        LEAF_BASE => {
            let part = |i: usize| {
                let bytes = SIGNATURE.get(i..i + 4).and_then(|s| s.try_into().ok());
                bytes.map_or(0, u32::from_le_bytes)
            };
            [LEAF_LAST, part(0), part(4), part(8)]
        }
        LEAF_FEATURES => {
            let bits = features(domain);
            [ABI_VERSION, bits, domain.id.into(), domain.vcpus.len() as u32]
        }
        LEAF_START_INFO => [domain.start_info as u32, (domain.start_info >> 32) as u32, 0, 0],
        // The virtual APIC's timer counts TSC ticks.
        LEAF_TIMING => [time::khz() as u32, time::khz() as u32, 0, 0],
        _ => [0; 4],
    }
}

fn basic(domain: &Domain, vcpu: &Vcpu, cr4: u64, leaf: u32, sub: u32) -> [u32; 4] {
    let host = cpu::cpuid(leaf, sub);
    let [a, b, c, d] = host;
    let count = domain.vcpus.len() as u32;
    match leaf {
        0 => [a.clamp(0xb, 0xd), b, c, d],
        1 => {
            let osxsave = if cr4 >> 18 & 1 == 1 { OSXSAVE } else { 0 };
            let mtrr = if domain.is_control() { MTRR } else { 0 };
            // HTT says that the count of logical CPUs in ebx is valid.
            let htt = if count > 1 { 1 << 28 } else { 0 };
            [
                a,
                b & 0xffff | count.min(255) << 16 | vcpu.apic_id << 24,
                c & FEATURES_1C | FORCED_1C | osxsave,
                d & (FEATURES_1D | mtrr) | htt,
            ]
        }
        2 => host,
        // Deterministic cache parameters: one package, a core a vCPU; the
        // first-level caches are each core's own.
        4 if a & 0x1f != 0 => {
            let cores = count.next_power_of_two() - 1;
            let level = a >> 5 & 7;
            let sharing = if level >= 3 { cores } else { 0 };
            [a & 0x3fff | sharing << 14 | cores.min(63) << 26, b, c, d]
        }
        // ARAT: the APIC timer never stops.
        6 => [1 << 2, 0, 0, 0],
        7 if sub == 0 => {
            let ospke = if cr4 >> 22 & 1 == 1 { OSPKE } else { 0 };
            [0, b & FEATURES_7B, c & FEATURES_7C | ospke, d & FEATURES_7D]
        }
        // Topology (SDM Vol. 3, 9.9): level 0 one thread, level 1 all cores.
        0xb => match sub {
            0 => [0, 1, 1 << 8, vcpu.apic_id],
            1 => [apic_bits(domain), count, 2 << 8 | 1, vcpu.apic_id],
            _ => [0, 0, sub & 0xff, vcpu.apic_id],
        },
        _ => [0; 4],
    }
}

/// XSAVE areas (SDM Vol. 1, 13.2), of the components that a vCPU may enable.
/// No supervisor states: XSAVES is hidden, XSAVEC is not.
fn xsave(xcr0: u64, sub: u32) -> [u32; 4] {
    let mask = vcpu::xcr0_mask();
    let has = |set: u64, component: u32| set >> component & 1 == 1;
    let host = cpu::cpuid(0xd, sub);
    // Both forms begin with the legacy area and the header.
    let standard = |set: u64| {
        (2..64).filter(|c| has(set, *c)).fold(576, |most: u32, component| {
            let [size, offset, ..] = cpu::cpuid(0xd, component);
            most.max(size.saturating_add(offset))
        })
    };
    // Bochs 2.7 tells the standard size here.
    let compact = |set: u64| {
        (2..64).filter(|c| has(set, *c)).fold(576u32, |end, component| {
            let [size, _, flags, _] = cpu::cpuid(0xd, component);
            let start = if flags & 2 != 0 { end.next_multiple_of(64) } else { end };
            start.saturating_add(size)
        })
    };
    match sub {
        0 => [mask as u32, standard(xcr0 & mask), standard(mask), (mask >> 32) as u32],
        1 => [host[0] & 0x7, compact(xcr0 & mask), 0, 0],
        2..64 if has(mask, sub) => host,
        _ => [0; 4],
    }
}

fn extended(domain: &Domain, vcpu: &Vcpu, leaf: u32, sub: u32) -> [u32; 4] {
    let host = cpu::cpuid(leaf, sub);
    let [a, b, c, d] = host;
    match leaf {
        0x8000_0000 => [a.min(0x8000_001e), b, c, d],
        0x8000_0001 => [a, b, c & FEATURES_X1C, d & FEATURES_X1D],
        0x8000_0002..=0x8000_0006 => host,
        // The TSC is invariant: the core keeps it so.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => {
            let cores = (domain.vcpus.len() as u32).max(1) - 1;
            // A core count, or reserved, by the CPU's maker.
            let c = if c == 0 { 0 } else { cores | apic_bits(domain) << 12 };
            // CLZERO, XSAVEERPTR, WBNOINVD.
            [a & 0xffff, b & (1 << 0 | 1 << 2 | 1 << 9), c, 0]
        }
        // Topology of caches: first levels private, the third shared.
        0x8000_001d if a & 0x1f != 0 => {
            let cores = (domain.vcpus.len() as u32).max(1) - 1;
            let sharing = if a >> 5 & 7 >= 3 { cores } else { 0 };
            [a & 0x3fff | sharing << 14, b, c, d]
        }
        0x8000_001e => [vcpu.apic_id, vcpu.index & 0xff, 0, 0],
        _ => [0; 4],
    }
}

/// Bits that the domain's APIC ids take.
fn apic_bits(domain: &Domain) -> u32 {
    let highest = domain.vcpus.iter().map(|v| v.apic_id).max().unwrap_or(0);
    u32::BITS - highest.leading_zeros()
}
