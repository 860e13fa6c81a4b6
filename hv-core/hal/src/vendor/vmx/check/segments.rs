// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks on guest segment registers (SDM Vol. 3, 27.3.1.2).

use hv_abi::vcpu::segment::{CS, DS, ES, FS, GS, LDTR, SS, TR};

use super::{Judge, linear};
use crate::vendor::regs::{cr0, rflags};
use crate::vendor::vmx::layout::{UNUSABLE, field};

/// Rights (table 25-2).
const CODE_DATA: u32 = 1 << 4;
const PRESENT: u32 = 1 << 7;
const LONG: u32 = 1 << 13;
const DEFAULT: u32 = 1 << 14;
const GRANULAR: u32 = 1 << 15;
/// Bits 11:8 and 31:17.
const RESERVED: u32 = 0xfffe_0f00;
/// What virtual-8086 mode wants.
const VIRTUAL_RIGHTS: u32 = 0xf3;
const VIRTUAL_LIMIT: u32 = 0xffff;

/// A segment register in the VMCS.
#[derive(Clone, Copy)]
struct Segment {
    selector: u16,
    base: u64,
    limit: u32,
    rights: u32,
}

impl Segment {
    fn usable(self) -> bool {
        self.rights & UNUSABLE == 0
    }

    fn kind(self) -> u32 {
        self.rights & 0xf
    }

    fn dpl(self) -> u32 {
        self.rights >> 5 & 3
    }

    fn rpl(self) -> u32 {
        u32::from(self.selector & 3)
    }

    fn in_ldt(self) -> bool {
        self.selector & 4 != 0
    }

    /// G and the limit go together.
    fn granular(self) -> bool {
        let granular = self.rights & GRANULAR != 0;
        !(self.limit & 0xfff != 0xfff && granular || self.limit >> 20 != 0 && !granular)
    }
}

/// The texts of the rules that several registers share.
struct Texts {
    base: &'static str,
    kind: &'static str,
    present: &'static str,
    reserved: &'static str,
    limit: &'static str,
    virtual_mode: &'static str,
}

macro_rules! texts {
    ($name:literal) => {
        Texts {
            base: concat!("guest ", $name, " base"),
            kind: concat!("guest ", $name, " rights: type or S"),
            present: concat!("guest ", $name, " rights: not present"),
            reserved: concat!("guest ", $name, " rights: reserved bits"),
            limit: concat!("guest ", $name, " limit: G does not fit it"),
            virtual_mode: concat!("guest ", $name, ": not of virtual-8086 mode"),
        }
    };
}

/// In the order of the encoding.
const TEXTS: [Texts; 8] = [
    texts!("ES"),
    texts!("CS"),
    texts!("SS"),
    texts!("DS"),
    texts!("FS"),
    texts!("GS"),
    texts!("LDTR"),
    texts!("TR"),
];

impl Judge<'_> {
    fn segment(&self, index: usize) -> Segment {
        let at = 2 * index as u32;
        Segment {
            selector: self.read(field::GUEST_SELECTOR + at) as u16,
            base: self.read(field::GUEST_BASE + at),
            limit: self.word(field::GUEST_LIMIT + at),
            rights: self.word(field::GUEST_RIGHTS + at),
        }
    }

    pub(super) fn segments(&mut self) {
        let all: [Segment; 8] = core::array::from_fn(|index| self.segment(index));
        if self.read(field::GUEST_RFLAGS) & rflags::VM != 0 {
            for index in [ES, CS, SS, DS, FS, GS] {
                let s = all[index];
                let good = s.base == u64::from(s.selector) << 4
                    && s.limit == VIRTUAL_LIMIT
                    && s.rights == VIRTUAL_RIGHTS;
                self.rule(!good, TEXTS[index].virtual_mode);
            }
        } else {
            self.code_and_stack(all[CS], all[SS]);
            for index in [ES, DS, FS, GS] {
                self.data(index, all[index]);
            }
            for index in [ES, CS, SS, DS, FS, GS] {
                self.common(index, all[index]);
            }
        }
        for index in [FS, GS] {
            self.rule(!linear(all[index].base), TEXTS[index].base);
        }
        self.system(all[TR], all[LDTR]);
    }

    fn code_and_stack(&mut self, cs: Segment, ss: Segment) {
        let unrestricted = self.unrestricted();
        // Type 3: as real mode leaves it.
        let code = match cs.kind() {
            9 | 11 | 13 | 15 => true,
            3 => unrestricted,
            _ => false,
        };
        self.rule(!code || cs.rights & CODE_DATA == 0, TEXTS[CS].kind);
        let level = match cs.kind() {
            3 => cs.dpl() == 0,
            9 | 11 => cs.dpl() == ss.dpl(),
            13 | 15 => cs.dpl() <= ss.dpl(),
            _ => true,
        };
        self.rule(!level, "guest CS rights: DPL");
        let both = cs.rights & LONG != 0 && cs.rights & DEFAULT != 0;
        self.rule(self.long() && both, "guest CS rights: both L and D");
        if ss.usable() {
            self.rule(!matches!(ss.kind(), 3 | 7), TEXTS[SS].kind);
        }
        let protected = self.read(field::GUEST_CR0) & cr0::PE != 0;
        let zero = cs.kind() == 3 || !protected;
        self.rule(zero && ss.dpl() != 0, "guest SS rights: DPL in real mode");
        if !unrestricted {
            self.rule(ss.rpl() != cs.rpl(), "guest SS selector: RPL is not CS's");
            self.rule(ss.dpl() != ss.rpl(), "guest SS rights: DPL is not RPL");
        }
    }

    fn data(&mut self, index: usize, s: Segment) {
        if !s.usable() {
            return;
        }
        // Accessed; readable if it is code.
        let good = s.kind() & 1 != 0 && s.kind() & 0xa != 8;
        self.rule(!good, TEXTS[index].kind);
        let low = s.kind() <= 11 && s.dpl() < s.rpl();
        self.rule(!self.unrestricted() && low, "guest data segment rights: DPL below RPL");
    }

    /// What CS and every usable segment must have.
    fn common(&mut self, index: usize, s: Segment) {
        let texts = &TEXTS[index];
        // CS always counts, and an unusable one is as wrong as a reserved bit.
        self.rule(index == CS && !s.usable(), texts.present);
        if index != CS && !s.usable() {
            return;
        }
        if index != FS && index != GS {
            self.rule(s.base >> 32 != 0, texts.base);
        }
        self.rule(index != CS && s.rights & CODE_DATA == 0, texts.kind);
        self.rule(s.rights & PRESENT == 0, texts.present);
        self.rule(s.rights & RESERVED != 0, texts.reserved);
        self.rule(!s.granular(), texts.limit);
    }

    fn system(&mut self, tr: Segment, ldtr: Segment) {
        self.rule(tr.in_ldt(), "guest TR selector: in the LDT");
        let busy = tr.kind() == 11 || tr.kind() == 3 && !self.long();
        self.rule(!busy || tr.rights & CODE_DATA != 0, TEXTS[TR].kind);
        self.rule(!tr.usable(), "guest TR rights: unusable");
        self.table(TR, tr);
        if ldtr.usable() {
            self.rule(ldtr.in_ldt(), "guest LDTR selector: in the LDT");
            let table = ldtr.kind() == 2 && ldtr.rights & CODE_DATA == 0;
            self.rule(!table, TEXTS[LDTR].kind);
            self.table(LDTR, ldtr);
        }
    }

    fn table(&mut self, index: usize, s: Segment) {
        let texts = &TEXTS[index];
        self.rule(!linear(s.base), texts.base);
        self.rule(s.rights & PRESENT == 0, texts.present);
        self.rule(s.rights & RESERVED != 0, texts.reserved);
        self.rule(!s.granular(), texts.limit);
    }
}
