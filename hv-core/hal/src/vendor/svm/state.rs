// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's registers in the control block, to and from a [`VcpuContext`]:
//! all but general registers (rax and rsp excepted), XCR0 and TSC_AUX, which
//! the block has no place for.

use hv_abi::vcpu::{Segment, Table, VcpuContext, segment};

use super::layout::{Save, Seg};
use crate::exit::gpr::{RAX, RSP};
use crate::vendor::context::{PRESENT, normal};
use crate::vendor::regs::{cr0, efer, msr};

/// A segment as the interface has it: G is told by the limit here, and the
/// block's SS.DPL may be stale in favour of CPL (APM Vol. 2, 15.5.1).
fn segment_of(index: usize, s: &Seg) -> Segment {
    let rights = s.attrib & 0xff | (s.attrib & 0xf00) << 4;
    normal(index, Segment { selector: s.selector, rights, limit: s.limit, base: s.base })
}

fn seg_of(s: &Segment) -> Seg {
    let attrib = match s.rights & PRESENT {
        0 => 0,
        _ => s.rights & 0xff | (s.rights >> 4) & 0xf00,
    };
    Seg { selector: s.selector, attrib, limit: s.limit, base: s.base }
}

fn table_of(s: &Seg) -> Table {
    Table { base: s.base, limit: u64::from(s.limit) & 0xffff }
}

fn table(t: &Table) -> Seg {
    Seg { base: t.base, limit: t.limit as u32, ..Seg::default() }
}

/// Writes a checked context into the block.
pub fn store(c: &VcpuContext, s: &mut Save) {
    s.rax = c.gpr[RAX];
    s.rsp = c.gpr[RSP];
    s.rip = c.rip;
    s.rflags = c.rflags;
    // CD and NW would turn off this CPU's caches (APM Vol. 2, 15.5.1, 7.6.2).
    s.cr0 = c.cr0 & !(cr0::CD | cr0::NW);
    s.cr2 = c.cr2;
    s.cr3 = c.cr3;
    s.cr4 = c.cr4;
    s.efer = c.efer | efer::SVME;
    s.g_pat = c.pat;
    s.dr6 = c.dr6;
    s.dr7 = c.dr7;
    s.debugctl = 0;
    s.es = seg_of(&c.segments[segment::ES]);
    s.cs = seg_of(&c.segments[segment::CS]);
    s.ss = seg_of(&c.segments[segment::SS]);
    s.ds = seg_of(&c.segments[segment::DS]);
    s.fs = seg_of(&c.segments[segment::FS]);
    s.gs = seg_of(&c.segments[segment::GS]);
    s.ldtr = seg_of(&c.segments[segment::LDTR]);
    s.tr = seg_of(&c.segments[segment::TR]);
    s.cpl = (c.segments[segment::SS].rights >> 5 & 3) as u8;
    s.gdtr = table(&c.gdtr);
    s.idtr = table(&c.idtr);
    [s.star, s.lstar, s.cstar, s.sfmask] = c.syscall;
    s.kernel_gs_base = c.kernel_gs_base;
    [s.sysenter_cs, s.sysenter_esp, s.sysenter_eip] = c.sysenter;
}

/// Reads the block.
pub fn load(s: &Save) -> VcpuContext {
    let mut c = VcpuContext {
        rip: s.rip,
        rflags: s.rflags,
        cr0: s.cr0,
        cr2: s.cr2,
        cr3: s.cr3,
        cr4: s.cr4,
        efer: s.efer & !efer::SVME,
        pat: s.g_pat,
        dr6: s.dr6,
        dr7: s.dr7,
        gdtr: table_of(&s.gdtr),
        idtr: table_of(&s.idtr),
        syscall: [s.star, s.lstar, s.cstar, s.sfmask],
        kernel_gs_base: s.kernel_gs_base,
        sysenter: [s.sysenter_cs, s.sysenter_esp, s.sysenter_eip],
        ..VcpuContext::default()
    };
    c.gpr[RAX] = s.rax;
    c.gpr[RSP] = s.rsp;
    let segments = [&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs, &s.ldtr, &s.tr];
    for (index, seg) in segments.into_iter().enumerate() {
        c.segments[index] = segment_of(index, seg);
    }
    let ss = &mut c.segments[segment::SS];
    ss.rights = ss.rights & !(3 << 5) | u16::from(s.cpl & 3) << 5;
    c
}

/// The block's field that is this MSR, of those that take any canonical
/// address or any value.
pub fn register(s: &mut Save, index: u32) -> Option<&mut u64> {
    Some(match index {
        msr::STAR => &mut s.star,
        msr::LSTAR => &mut s.lstar,
        msr::CSTAR => &mut s.cstar,
        msr::SFMASK => &mut s.sfmask,
        msr::FS_BASE => &mut s.fs.base,
        msr::GS_BASE => &mut s.gs.base,
        msr::KERNEL_GS_BASE => &mut s.kernel_gs_base,
        msr::SYSENTER_CS => &mut s.sysenter_cs,
        msr::SYSENTER_ESP => &mut s.sysenter_esp,
        msr::SYSENTER_EIP => &mut s.sysenter_eip,
        _ => return None,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::vendor::context::tests::long_mode;
    use crate::vendor::regs;
    use crate::vendor::svm::layout::{NESTED_ENABLE, Vmcb, misc2};
    use zerocopy::FromZeros;

    /// A block that VMRUN accepts.
    pub fn good() -> Vmcb {
        let mut vmcb = Vmcb::new_zeroed();
        store(&long_mode(), &mut vmcb.save);
        vmcb.control.intercept_misc2 = misc2::VMRUN;
        vmcb.control.asid = 1;
        vmcb.control.nested = NESTED_ENABLE;
        vmcb
    }

    #[test]
    fn a_context_goes_through_the_block_unchanged() {
        let mut c = long_mode();
        c.gpr[RAX] = 1;
        c.gpr[RSP] = 2;
        c.gpr[crate::exit::gpr::RDX] = 0;
        c.xcr0 = 0;
        c.cr2 = 3;
        c.cr3 = 0x4000;
        c.syscall = [1, 2, 3, 4];
        c.sysenter = [5, 6, 7];
        c.kernel_gs_base = 8;
        c.dr7 = regs::dr7::RESET | 1;
        let mut vmcb = Vmcb::new_zeroed();
        store(&c, &mut vmcb.save);
        assert_eq!(load(&vmcb.save), c);
        assert_eq!(vmcb.save.cs.attrib, 0xa9b, "AVL L D G in bits 11:8");
        assert_eq!(vmcb.save.efer & efer::SVME, efer::SVME);
    }

    #[test]
    fn privilege_is_the_cpl() {
        let mut vmcb = good();
        vmcb.save.cpl = 3;
        assert_eq!(load(&vmcb.save).segments[segment::SS].rights >> 5 & 3, 3);
    }
}
