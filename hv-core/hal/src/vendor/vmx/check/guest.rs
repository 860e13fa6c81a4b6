// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks on the guest-state area but for segments (SDM Vol. 3, 27.3.1.1 and
//! 27.3.1.3 to 27.3.1.6).

use super::{Judge, linear};
use crate::vendor::regs::{cr0, cr4, efer, rflags, valid_pat};
use crate::vendor::vmx::layout::{
    PENDING_STEP, activity, entry, event, field, pin, secondary, shadow,
};

/// IA32_DEBUGCTL bits that are not reserved (SDM Vol. 4, table 2-2): LBR, BTF,
/// 12:6 (trace and freeze), RTM.
const DEBUGCTL: u64 = 3 | 0x7f << 6 | 1 << 15;
const BTF: u64 = 1 << 1;
/// Pending debug exceptions: an enabled breakpoint; in a transaction (25.4.2).
const PENDING_ENABLED: u64 = 1 << 12;
const PENDING_RTM: u64 = 1 << 16;
const PENDING: u64 = 0xf | PENDING_ENABLED | PENDING_STEP | PENDING_RTM;
/// CS is the second segment, SS the third; bit 13 of rights is L.
const CS: u32 = 2;
const SS: u32 = 4;
const LONG: u64 = 1 << 13;

impl Judge<'_> {
    pub(super) fn guest(&mut self) {
        self.control_registers();
        self.registers();
        self.tables_and_flags();
        self.activity();
        self.interruptibility();
        self.pending_debug();
        self.link();
        self.pointers();
    }

    /// 27.3.1.1. With an unrestricted guest PE and PG are free; CD and NW are
    /// never looked at.
    fn control_registers(&mut self) {
        let c = self.cpu.capabilities;
        let (cr0, cr4) = (self.read(field::GUEST_CR0), self.read(field::GUEST_CR4));
        let free = if self.unrestricted() { cr0::PE | cr0::PG } else { 0 };
        let ignored = free | cr0::CD | cr0::NW;
        let missing = c.cr0_fixed0 & !cr0 & !ignored;
        self.rule(missing != 0, "guest CR0: a bit that must be 1");
        self.rule(cr0 & !c.cr0_fixed1 & !ignored != 0, "guest CR0: a bit that must be 0");
        let paging = cr0 & cr0::PG != 0;
        self.rule(paging && cr0 & cr0::PE == 0, "guest CR0: PG without PE");
        self.rule(cr4 & c.cr4_fixed0 != c.cr4_fixed0, "guest CR4: a bit that must be 1");
        self.rule(cr4 & !c.cr4_fixed1 != 0, "guest CR4: a bit that must be 0");
        let long = self.long();
        self.rule(long && !paging, "guest CR0: IA-32e mode without PG");
        self.rule(long && cr4 & cr4::PAE == 0, "guest CR4: IA-32e mode without PAE");
        self.rule(!long && cr4 & cr4::PCIDE != 0, "guest CR4: PCIDE outside IA-32e mode");
        self.rule(self.beyond(self.read(field::GUEST_CR3)), "guest CR3: reserved bits");
    }

    fn registers(&mut self) {
        let controls = self.word(field::ENTRY);
        let (long, paging) = (self.long(), self.read(field::GUEST_CR0) & cr0::PG != 0);
        if controls & entry::LOAD_DEBUG != 0 {
            let debug = self.read(field::GUEST_DEBUGCTL);
            self.rule(debug & !DEBUGCTL != 0, "guest DEBUGCTL: reserved bits");
            self.rule(self.read(field::GUEST_DR7) >> 32 != 0, "guest DR7: the upper half");
        }
        let esp = linear(self.read(field::GUEST_SYSENTER_ESP));
        self.rule(!esp, "guest SYSENTER_ESP: not canonical");
        let eip = linear(self.read(field::GUEST_SYSENTER_EIP));
        self.rule(!eip, "guest SYSENTER_EIP: not canonical");
        if controls & entry::LOAD_PAT != 0 {
            self.rule(!valid_pat(self.read(field::GUEST_PAT)), "guest PAT: a memory type");
        }
        if controls & entry::LOAD_EFER != 0 {
            let efer = self.read(field::GUEST_EFER);
            let known = self.cpu.limits.efer | efer::LMA;
            self.rule(efer & !known != 0, "guest EFER: reserved bits");
            let (lma, lme) = (efer & efer::LMA != 0, efer & efer::LME != 0);
            self.rule(lma != long, "guest EFER: LMA and the VM-entry control for IA-32e mode");
            self.rule(paging && lma != lme, "guest EFER: LMA is not LME with paging");
        }
    }

    /// 27.3.1.3 and 27.3.1.4.
    fn tables_and_flags(&mut self) {
        let good = linear(self.read(field::GDTR_BASE));
        self.rule(!good, "guest GDTR base: not canonical");
        let good = linear(self.read(field::IDTR_BASE));
        self.rule(!good, "guest IDTR base: not canonical");
        self.rule(self.read(field::GDTR_LIMIT) >> 16 != 0, "guest GDTR limit: over 65535");
        self.rule(self.read(field::IDTR_LIMIT) >> 16 != 0, "guest IDTR limit: over 65535");
        let wide = self.long() && self.read(field::GUEST_RIGHTS + CS) & LONG != 0;
        let rip = self.read(field::GUEST_RIP);
        let good = if wide { linear(rip) } else { rip >> 32 == 0 };
        self.rule(!good, "guest RIP: not an address of this mode");
        let flags = self.read(field::GUEST_RFLAGS);
        self.rule(flags & rflags::RESERVED != 0, "guest RFLAGS: a bit that must be 0");
        self.rule(flags & rflags::FIXED == 0, "guest RFLAGS: bit 1");
        let protected = self.read(field::GUEST_CR0) & cr0::PE != 0;
        let no_virtual = self.long() || !protected;
        self.rule(flags & rflags::VM != 0 && no_virtual, "guest RFLAGS: VM in this mode");
        let interrupt = matches!(self.event(), Some((event::INTERRUPT, _)));
        let closed = flags & rflags::IF == 0;
        self.rule(interrupt && closed, "guest RFLAGS: IF is clear for the VM-entry event");
    }

    /// 27.3.1.5: activity.
    fn activity(&mut self) {
        let state = self.read(field::ACTIVITY);
        // IA32_VMX_MISC bits 8:6: HLT, shutdown, wait-for-SIPI (A.6).
        let known = match state {
            activity::ACTIVE => true,
            activity::HLT..=activity::WAIT_FOR_SIPI => {
                self.cpu.capabilities.misc >> (5 + state) & 1 == 1
            }
            _ => false,
        };
        self.rule(!known, "guest activity state: not one of this CPU's");
        let user = self.read(field::GUEST_RIGHTS + SS) >> 5 & 3 != 0;
        self.rule(state == activity::HLT && user, "guest activity state: HLT outside level 0");
        let shadows = self.read(field::INTERRUPTIBILITY) & (shadow::STI | shadow::MOV_SS);
        let asleep = state != activity::ACTIVE;
        self.rule(asleep && shadows != 0, "guest activity state: asleep in a shadow");
        if let Some((kind, info)) = self.event() {
            let vector = info as u8;
            let wakes = match state {
                activity::ACTIVE => true,
                activity::HLT => match kind {
                    event::INTERRUPT | event::NMI => true,
                    event::HARDWARE => matches!(vector, 1 | 18),
                    event::OTHER => vector == 0,
                    _ => false,
                },
                activity::SHUTDOWN => match kind {
                    event::NMI => true,
                    event::HARDWARE => vector == 18,
                    _ => false,
                },
                _ => false,
            };
            self.rule(!wakes, "guest activity state: the VM-entry event is blocked in it");
        }
    }

    /// 27.3.1.5: interruptibility.
    fn interruptibility(&mut self) {
        let state = self.read(field::INTERRUPTIBILITY);
        let (sti, mov_ss) = (state & shadow::STI != 0, state & shadow::MOV_SS != 0);
        self.rule(state >> 5 != 0, "guest interruptibility: reserved bits");
        self.rule(sti && mov_ss, "guest interruptibility: both STI and MOV SS");
        let closed = self.read(field::GUEST_RFLAGS) & rflags::IF == 0;
        self.rule(sti && closed, "guest interruptibility: STI with IF clear");
        self.rule(state & shadow::SMI != 0, "guest interruptibility: SMI outside SMM");
        self.rule(state & shadow::ENCLAVE != 0, "guest interruptibility: an enclave");
        let kind = self.event().map(|(kind, _)| kind);
        let interrupt = kind == Some(event::INTERRUPT);
        let rule = "guest interruptibility: a shadow, and the VM-entry event is an interrupt";
        self.rule(interrupt && (sti || mov_ss), rule);
        let nmi = kind == Some(event::NMI);
        // STI: "some processors" (27.3.1.5).
        let rule = "guest interruptibility: a shadow, and the VM-entry event is an NMI";
        self.rule(nmi && (sti || mov_ss), rule);
        let virtual_nmis = self.word(field::PIN) & pin::VIRTUAL_NMIS != 0;
        let blocked = virtual_nmis && state & shadow::NMI != 0;
        self.rule(
            nmi && blocked,
            "guest interruptibility: NMIs are blocked for the VM-entry event",
        );
    }

    /// 27.3.1.5: pending debug exceptions.
    fn pending_debug(&mut self) {
        let pending = self.read(field::PENDING_DEBUG);
        self.rule(pending & !PENDING != 0, "guest pending debug exceptions: reserved bits");
        let shadows = self.read(field::INTERRUPTIBILITY) & (shadow::STI | shadow::MOV_SS);
        if shadows != 0 || self.read(field::ACTIVITY) == activity::HLT {
            let steps = self.read(field::GUEST_RFLAGS) & rflags::TF != 0
                && self.read(field::GUEST_DEBUGCTL) & BTF == 0;
            let step = pending & PENDING_STEP != 0;
            self.rule(step != steps, "guest pending debug exceptions: BS is not as TF and BTF");
        }
        if pending & PENDING_RTM != 0 {
            let alone = pending & !(PENDING_RTM | PENDING_ENABLED) == 0;
            let enabled = pending & PENDING_ENABLED != 0;
            let rule = "guest pending debug exceptions: RTM with others";
            self.rule(!alone || !enabled || shadows & shadow::MOV_SS != 0, rule);
        }
    }

    /// 27.3.1.5: the VMCS link pointer. The core has no shadow VMCS, so there
    /// is no good value but "none".
    fn link(&mut self) {
        self.rule(self.read(field::LINK) != u64::MAX, "VMCS link pointer: not empty");
    }

    /// 27.3.1.6: page-directory pointers, with PAE paging and EPT.
    fn pointers(&mut self) {
        let paging = self.read(field::GUEST_CR0) & cr0::PG != 0;
        let pae = self.read(field::GUEST_CR4) & cr4::PAE != 0;
        let tables = self.second() & secondary::EPT != 0;
        if !paging || !pae || self.long() || !tables {
            return;
        }
        for index in 0..4 {
            let pointer = self.read(field::GUEST_PDPTE + 2 * index);
            // Bits 2:1, 8:5 and those beyond the address (SDM Vol. 3, 4.4.1).
            let reserved = pointer & 0x1e6 != 0 || self.beyond(pointer);
            self.rule(pointer & 1 != 0 && reserved, "guest PDPTE: reserved bits");
        }
    }
}
