// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is a [`VcpuContext`] one that a CPU could be in? [`check`] refuses what
//! either vendor would refuse at entry, so that a bad one is its setter's
//! error with a field's name and never a failed entry.
//!
//! It follows the stricter of SDM Vol. 3, 27.3 (checks on the guest-state
//! area, with unrestricted guest) and APM Vol. 2, 15.5.1.

use hv_abi::vcpu::{Segment, VcpuContext, segment};

use super::regs::{canonical, cr0, cr4, efer, rflags, valid_pat, valid_xcr0};

/// What this machine's CPUs let a vCPU have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bits of a guest-physical address.
    pub physical_bits: u32,
    /// EFER bits.
    pub efer: u64,
    /// CR4 bits.
    pub cr4: u64,
    /// XCR0 bits; 0 without XSAVE.
    pub xcr0: u64,
}

/// Bits of a linear address: four-level paging, CR4.LA57 is not offered.
pub const LINEAR_BITS: u32 = 48;

/// Rights of a segment: present.
pub const PRESENT: u16 = 1 << 7;
/// Rights of a segment: code or data.
const CODE_DATA: u16 = 1 << 4;
/// Rights of a segment: 64-bit code.
const LONG: u16 = 1 << 13;
/// Rights of a segment: 32-bit code.
const DEFAULT: u16 = 1 << 14;
/// Rights of a segment: limit in pages.
const GRANULAR: u16 = 1 << 15;
/// Rights of a segment: must be 0.
const RESERVED: u16 = 0x0f00;

type Check = Result<(), &'static str>;

fn need(good: bool, field: &'static str) -> Check {
    if good { Ok(()) } else { Err(field) }
}

/// EFER.LMA as the other bits make it (SDM Vol. 3, 2.2.1).
pub fn long_mode_active(efer: u64, cr0: u64) -> bool {
    efer & efer::LME != 0 && cr0 & cr0::PG != 0
}

/// Refuses a context that no CPU could be in, by the field's name.
pub fn check(c: &VcpuContext, limits: &Limits) -> Check {
    let long = long_mode_active(c.efer, c.cr0);
    control(c, limits, long)?;
    need(c.rflags & rflags::RESERVED == 0 && c.rflags & rflags::FIXED != 0, "rflags")?;
    need(c.rflags & rflags::VM == 0, "rflags: virtual-8086 mode can't be set")?;
    need(valid_pat(c.pat), "pat")?;
    need(c.dr6 >> 32 == 0, "dr6")?;
    need(c.dr7 >> 32 == 0, "dr7")?;
    need(c.xcr0 == 0 || valid_xcr0(c.xcr0, limits.xcr0), "xcr0")?;
    segments(c, long)?;
    for (table, name) in [(&c.gdtr, "gdtr"), (&c.idtr, "idtr")] {
        need(canonical(table.base, LINEAR_BITS) && table.limit <= 0xffff, name)?;
    }
    let long_code = long && c.segments[segment::CS].rights & LONG != 0;
    let good_rip = if long_code { canonical(c.rip, LINEAR_BITS) } else { c.rip >> 32 == 0 };
    need(good_rip, "rip")?;
    let [_, lstar, cstar, sfmask] = c.syscall;
    need(canonical(lstar, LINEAR_BITS), "lstar")?;
    need(canonical(cstar, LINEAR_BITS), "cstar")?;
    need(sfmask >> 32 == 0, "sfmask")?;
    need(canonical(c.kernel_gs_base, LINEAR_BITS), "kernel_gs_base")?;
    need(c.sysenter[0] >> 32 == 0, "sysenter_cs")?;
    need(canonical(c.sysenter[1], LINEAR_BITS), "sysenter_esp")?;
    need(canonical(c.sysenter[2], LINEAR_BITS), "sysenter_eip")?;
    need(c.tsc_aux >> 32 == 0, "tsc_aux")?;
    need(c.online <= 1, "online")?;
    need(c.reserved == 0, "reserved")
}

fn control(c: &VcpuContext, limits: &Limits, long: bool) -> Check {
    need(c.cr0 & !cr0::ALL == 0, "cr0: reserved bits")?;
    need(c.cr0 & cr0::PG == 0 || c.cr0 & cr0::PE != 0, "cr0: PG without PE")?;
    need(c.cr0 & cr0::NW == 0 || c.cr0 & cr0::CD != 0, "cr0: NW without CD")?;
    need(c.cr4 & !limits.cr4 == 0, "cr4")?;
    need(c.cr4 & cr4::PCIDE == 0 || long, "cr4: PCIDE outside long mode")?;
    need(c.efer & !(limits.efer | efer::LMA) == 0, "efer")?;
    need((c.efer & efer::LMA != 0) == long, "efer: LMA is not LME and CR0.PG")?;
    need(!long || c.cr4 & cr4::PAE != 0, "cr4: long mode without PAE")?;
    need(c.cr3 >> limits.physical_bits == 0, "cr3")
}

fn segments(c: &VcpuContext, long: bool) -> Check {
    let cs = &c.segments[segment::CS];
    let ss = &c.segments[segment::SS];
    // SDM Vol. 3, 27.3.1.2. Type 3: CS as real mode leaves it.
    let dpl = |s: &Segment| s.rights >> 5 & 3;
    let cs_good = usable(cs)
        && cs.rights & CODE_DATA != 0
        && match cs.rights & 0xf {
            3 => dpl(cs) == 0,
            9 | 11 => dpl(cs) == dpl(ss),
            13 | 15 => dpl(cs) <= dpl(ss),
            _ => false,
        };
    need(cs_good, "cs: rights")?;
    let both = cs.rights & LONG != 0 && cs.rights & DEFAULT != 0;
    need(!(long && both), "cs: both L and D")?;
    let real = c.cr0 & cr0::PE == 0 || cs.rights & 0xf == 3;
    need(!real || dpl(ss) == 0, "ss: DPL in real mode")?;
    if usable(ss) {
        need(ss.rights & CODE_DATA != 0 && matches!(ss.rights & 0xf, 3 | 7), "ss: rights")?;
    }
    const NAMES: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
    for (index, s) in c.segments.iter().enumerate() {
        let name = NAMES[index];
        if index >= segment::FS {
            need(canonical(s.base, LINEAR_BITS), name)?;
        } else if usable(s) {
            need(s.base >> 32 == 0, name)?;
        }
        if usable(s) {
            need(s.rights & RESERVED == 0 && granularity(s), name)?;
        }
    }
    for index in [segment::ES, segment::DS, segment::FS, segment::GS] {
        let s = &c.segments[index];
        // Accessed, and readable if code.
        let good = s.rights & CODE_DATA != 0 && s.rights & 1 != 0 && s.rights & 0xa != 8;
        need(!usable(s) || good, NAMES[index])?;
    }
    let (tr, ldtr) = (&c.segments[segment::TR], &c.segments[segment::LDTR]);
    let busy = tr.rights & 0xf == 11 || tr.rights & 0xf == 3 && !long;
    need(usable(tr) && tr.rights & CODE_DATA == 0 && busy, "tr: not a busy TSS")?;
    need(tr.selector & 4 == 0, "tr: selector in the LDT")?;
    let table = ldtr.rights & CODE_DATA == 0 && ldtr.rights & 0xf == 2 && ldtr.selector & 4 == 0;
    need(!usable(ldtr) || table, "ldtr: not an LDT")
}

/// The interface has 16 bits of rights, so "unusable" (bit 16 in VT-x) is told
/// by a clear P bit on both vendors.
pub fn usable(s: &Segment) -> bool {
    s.rights & PRESENT != 0
}

/// G and the limit agree (SDM Vol. 3, 27.3.1.2).
fn granularity(s: &Segment) -> bool {
    let granular = s.rights & GRANULAR != 0;
    !(s.limit & 0xfff != 0xfff && granular || s.limit >> 20 != 0 && !granular)
}

/// A segment as [`check`] wants it, from what a CPU has kept of it: a CPU may
/// leave stale bits in one that is unusable, and does not keep G, the accessed
/// bit and TR's busy bit in a form that a VM entry takes again.
pub fn normal(index: usize, mut s: Segment) -> Segment {
    if !usable(&s) {
        return Segment { rights: 0, ..s };
    }
    s.rights &= !RESERVED;
    if s.limit >> 20 != 0 {
        s.rights |= GRANULAR;
        s.limit |= 0xfff;
    } else if s.limit & 0xfff != 0xfff {
        s.rights &= !GRANULAR;
    }
    match index {
        segment::TR => s.rights |= 2,
        segment::LDTR => {}
        _ => s.rights |= 1,
    }
    s
}

/// Real mode's segments after INIT (SDM Vol. 3, table 11-1; APM Vol. 2, table
/// 14-1), with CS as a start-up IPI of page `vector` leaves it.
fn real_segments(cs_selector: u16, cs_base: u64) -> [Segment; 8] {
    let data = Segment { selector: 0, rights: 0x93, limit: 0xffff, base: 0 };
    let mut segments = [data; 8];
    segments[segment::CS] = Segment { selector: cs_selector, rights: 0x9b, base: cs_base, ..data };
    segments[segment::LDTR].rights = 0x82;
    segments[segment::TR].rights = 0x8b;
    segments
}

/// A vCPU after INIT: waits at the reset vector, in real mode. `signature` is
/// CPUID leaf 1's EAX.
pub fn after_init(signature: u32) -> VcpuContext {
    let mut c = VcpuContext {
        rip: 0xfff0,
        rflags: rflags::FIXED,
        cr0: cr0::CD | cr0::NW | cr0::ET,
        pat: super::regs::PAT_RESET,
        dr6: super::regs::dr6::RESET,
        dr7: super::regs::dr7::RESET,
        segments: real_segments(0xf000, 0xffff_0000),
        xcr0: 1,
        ..VcpuContext::default()
    };
    c.gdtr.limit = 0xffff;
    c.idtr.limit = 0xffff;
    c.gpr[crate::exit::gpr::RDX] = signature.into();
    c
}

/// The same after a start-up IPI: begins at page `vector` (SDM Vol. 3, 9.4.4).
pub fn after_sipi(signature: u32, vector: u8) -> VcpuContext {
    let page = u64::from(vector) << 12;
    let segments = real_segments(u16::from(vector) << 8, page);
    VcpuContext { rip: 0, segments, ..after_init(signature) }
}

#[cfg(test)]
#[path = "context_tests.rs"]
pub mod tests;
