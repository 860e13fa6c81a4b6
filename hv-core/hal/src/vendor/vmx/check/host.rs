// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks on the host-state area (SDM Vol. 3, 27.2.2 to 27.2.4). The core is
//! a 64-bit host: anything else is refused.

use super::{Judge, linear};
use crate::vendor::regs::{cr4, efer, valid_pat};
use crate::vendor::vmx::layout::{exit, field};

/// EFER bits that are not reserved (SDM Vol. 4, table 2-2).
const EFER: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE;

impl Judge<'_> {
    pub(super) fn host(&mut self) {
        let c = self.cpu.capabilities;
        let (cr0, cr4) = (self.read(field::HOST_CR0), self.read(field::HOST_CR4));
        self.rule(cr0 & c.cr0_fixed0 != c.cr0_fixed0, "host CR0: a bit that must be 1");
        self.rule(cr0 & !c.cr0_fixed1 != 0, "host CR0: a bit that must be 0");
        self.rule(cr4 & c.cr4_fixed0 != c.cr4_fixed0, "host CR4: a bit that must be 1");
        self.rule(cr4 & !c.cr4_fixed1 != 0, "host CR4: a bit that must be 0");
        self.rule(self.beyond(self.read(field::HOST_CR3)), "host CR3: reserved bits");
        let linears = [
            (field::HOST_SYSENTER_ESP, "host SYSENTER_ESP: not canonical"),
            (field::HOST_SYSENTER_EIP, "host SYSENTER_EIP: not canonical"),
            (field::HOST_FS_BASE, "host FS base: not canonical"),
            (field::HOST_GS_BASE, "host GS base: not canonical"),
            (field::HOST_TR_BASE, "host TR base: not canonical"),
            (field::HOST_GDTR_BASE, "host GDTR base: not canonical"),
            (field::HOST_IDTR_BASE, "host IDTR base: not canonical"),
            (field::HOST_RIP, "host RIP: not canonical"),
        ];
        for (field, rule) in linears {
            self.rule(!linear(self.read(field)), rule);
        }
        self.host_registers();
        self.host_selectors();
        // 27.2.4
        self.rule(cr4 & cr4::PAE == 0, "host CR4: no PAE for a 64-bit host");
    }

    fn host_registers(&mut self) {
        let controls = self.word(field::EXIT);
        let wide = controls & exit::HOST_64 != 0;
        self.rule(!wide, "VM-exit controls: the host is 64-bit");
        if controls & exit::LOAD_PAT != 0 {
            self.rule(!valid_pat(self.read(field::HOST_PAT)), "host PAT: a memory type");
        }
        if controls & exit::LOAD_EFER != 0 {
            let efer = self.read(field::HOST_EFER);
            self.rule(efer & !EFER != 0, "host EFER: reserved bits");
            let (lme, lma) = (efer & efer::LME != 0, efer & efer::LMA != 0);
            self.rule(lme != wide || lma != wide, "host EFER: LME, LMA and the host's size");
        }
    }

    /// 27.2.3: no RPL, no LDT; CS and TR not null.
    fn host_selectors(&mut self) {
        let rules = [
            "host ES selector",
            "host CS selector",
            "host SS selector",
            "host DS selector",
            "host FS selector",
            "host GS selector",
            "host TR selector",
        ];
        for (index, rule) in rules.into_iter().enumerate() {
            let selector = self.read(field::HOST_SELECTOR + 2 * index as u32);
            let null = matches!(index, 1 | 6) && selector == 0;
            self.rule(selector & 7 != 0 || null, rule);
        }
    }
}
