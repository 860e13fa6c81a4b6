// SPDX-License-Identifier: MIT OR Apache-2.0
//! What VMRUN checks (APM Vol. 2, 15.5.1, 15.25.3), so that a refused block
//! is explained, and a wrong one found before it runs. QEMU's TCG checks much
//! less than this.

use super::layout::{NESTED_ENABLE, Vmcb, event, misc2};
use crate::vendor::regs::{cr0, cr4, efer, valid_pat};

/// CS.L and CS.D in a block's rights.
const LONG: u16 = 1 << 9;
const DEFAULT: u16 = 1 << 10;

/// What the CPU is like.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Bits of a machine address.
    pub physical_bits: u32,
    /// ASIDs are below this.
    pub asids: u32,
    /// CR4 bits it knows.
    pub cr4: u64,
    /// EFER bits it knows.
    pub efer: u64,
}

/// The first thing that VMRUN would not accept.
pub fn check(vmcb: &Vmcb, cpu: &Cpu) -> Result<(), &'static str> {
    let (c, s) = (&vmcb.control, &vmcb.save);
    let long = s.efer & efer::LME != 0 && s.cr0 & cr0::PG != 0;
    let beyond = |address: u64, bytes: u64| {
        address & 0xfff != 0 || address.saturating_add(bytes) > 1 << cpu.physical_bits
    };
    let rules = [
        (s.efer & efer::SVME == 0, "EFER.SVME is 0"),
        (s.cr0 & (cr0::CD | cr0::NW) == cr0::NW, "CR0.CD is 0 and NW is 1"),
        (s.cr0 >> 32 != 0, "CR0[63:32] are not 0"),
        (s.cr3 >> cpu.physical_bits != 0, "CR3: reserved bits"),
        (s.cr4 & !cpu.cr4 != 0, "CR4: reserved bits"),
        (s.dr6 >> 32 != 0, "DR6[63:32] are not 0"),
        (s.dr7 >> 32 != 0, "DR7[63:32] are not 0"),
        (s.efer & !(cpu.efer | efer::SVME | efer::LMA) != 0, "EFER: reserved bits"),
        (long && s.cr4 & cr4::PAE == 0, "EFER.LME and CR0.PG without CR4.PAE"),
        (long && s.cr0 & cr0::PE == 0, "EFER.LME and CR0.PG without CR0.PE"),
        (
            long && s.cs.attrib & LONG != 0 && s.cs.attrib & DEFAULT != 0,
            "long mode with both CS.L and CS.D",
        ),
        (c.intercept_misc2 & misc2::VMRUN == 0, "VMRUN is not intercepted"),
        (beyond(c.iopm, 3 * 4096), "the port map's address"),
        (beyond(c.msrpm, 2 * 4096), "the MSR map's address"),
        (!legal(c.event), "EVENTINJ is not legal"),
        (c.asid == 0 || c.asid >= cpu.asids, "the ASID"),
        (c.nested & NESTED_ENABLE == 0, "nested paging is off"),
        (beyond(c.nested_cr3, 4096), "nested CR3"),
        (!valid_pat(s.g_pat), "G_PAT"),
    ];
    match rules.iter().find(|rule| rule.0) {
        Some(rule) => Err(rule.1),
        None => Ok(()),
    }
}

/// 15.20: reserved types, NMI's vector, vectors that are no exceptions.
fn legal(info: u64) -> bool {
    let vector = info as u8;
    match info & event::TYPE {
        _ if info & event::VALID == 0 => true,
        event::INTERRUPT | event::NMI | event::SOFTWARE => true,
        event::EXCEPTION => vector != 2 && vector < 32,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::svm::state::tests::good;

    pub const CPU: Cpu = Cpu {
        physical_bits: 40,
        asids: 16,
        cr4: cr4::PAE | cr4::PGE,
        efer: efer::SCE | efer::LME | efer::NXE,
    };

    #[test]
    fn each_rule_is_told_by_its_name() {
        assert_eq!(check(&good(), &CPU), Ok(()));
        type Spoil = fn(&mut Vmcb);
        let cases: &[(&str, Spoil)] = &[
            ("EFER.SVME is 0", |v| v.save.efer &= !efer::SVME),
            ("CR0.CD is 0 and NW is 1", |v| v.save.cr0 |= cr0::NW),
            ("CR0[63:32] are not 0", |v| v.save.cr0 |= 1 << 32),
            ("CR3: reserved bits", |v| v.save.cr3 = 1 << 40),
            ("CR4: reserved bits", |v| v.save.cr4 |= cr4::VMXE),
            ("DR6[63:32] are not 0", |v| v.save.dr6 |= 1 << 40),
            ("DR7[63:32] are not 0", |v| v.save.dr7 |= 1 << 40),
            ("EFER: reserved bits", |v| v.save.efer |= 1 << 20),
            ("EFER.LME and CR0.PG without CR4.PAE", |v| v.save.cr4 = 0),
            ("EFER.LME and CR0.PG without CR0.PE", |v| v.save.cr0 &= !cr0::PE),
            ("long mode with both CS.L and CS.D", |v| v.save.cs.attrib |= DEFAULT),
            ("VMRUN is not intercepted", |v| v.control.intercept_misc2 = 0),
            ("the port map's address", |v| v.control.iopm = 1 << 40),
            ("the MSR map's address", |v| v.control.msrpm = 0x1001),
            ("EVENTINJ is not legal", |v| v.control.event = 0x8000_0320),
            ("EVENTINJ is not legal", |v| v.control.event = 0x8000_0102),
            ("the ASID", |v| v.control.asid = 0),
            ("the ASID", |v| v.control.asid = 16),
            ("nested paging is off", |v| v.control.nested = 0),
            ("nested CR3", |v| v.control.nested_cr3 = (1 << 40) - 1),
            ("G_PAT", |v| v.save.g_pat = 2),
        ];
        for (name, spoil) in cases {
            let mut vmcb = good();
            spoil(&mut vmcb);
            assert_eq!(check(&vmcb, &CPU), Err(*name));
        }
    }
}
