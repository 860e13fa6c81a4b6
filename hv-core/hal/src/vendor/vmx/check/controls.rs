// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks on VMX controls (SDM Vol. 3, 27.2.1).

use super::{Judge, against};
use crate::vendor::regs::cr0;
use crate::vendor::vmx::controls::ept_vpid;
use crate::vendor::vmx::layout::{entry, event, exit, field, pin, primary, secondary};

/// Entries of the CR3-target list (27.2.1.1).
const CR3_TARGETS: u64 = 4;
/// Bytes of an entry in a list of MSRs (25.7.2).
const MSR_ENTRY: u64 = 16;
/// EPTP: accessed and dirty flags; the memory types (25.6.11).
const EPTP_DIRTY: u64 = 1 << 6;
const UNCACHED: u64 = 0;
const WRITE_BACK: u64 = 6;

impl Judge<'_> {
    /// VM-execution controls (27.2.1.1).
    pub(super) fn controls(&mut self) {
        let c = self.cpu.capabilities;
        let (pins, first) = (self.word(field::PIN), self.word(field::PRIMARY));
        let second = self.second();
        self.rule(against(pins, c.pin), "pin-based controls: not as this CPU has them");
        self.rule(against(first, c.primary), "primary controls: not as this CPU has them");
        self.rule(first & primary::TERTIARY != 0, "primary controls: tertiary controls are used");
        let on = first & primary::SECONDARY != 0;
        let wrong = on && against(second, c.secondary);
        self.rule(wrong, "secondary controls: not as this CPU has them");
        let targets = self.read(field::CR3_TARGETS);
        self.rule(targets > CR3_TARGETS, "CR3-target count: more than 4");
        if first & primary::IO_BITMAPS != 0 {
            let (a, b) = (self.read(field::IO_BITMAP_A), self.read(field::IO_BITMAP_B));
            self.rule(self.off(a, 4096), "I/O bitmap A: no page's address");
            self.rule(self.off(b, 4096), "I/O bitmap B: no page's address");
        }
        if first & primary::MSR_BITMAPS != 0 {
            let map = self.read(field::MSR_BITMAP);
            self.rule(self.off(map, 4096), "MSR bitmap: no page's address");
        }
        self.apic(pins, first, second);
        let virtual_nmis = pins & pin::VIRTUAL_NMIS != 0;
        let exiting = pins & pin::NMI != 0;
        self.rule(virtual_nmis && !exiting, "pin-based controls: virtual NMIs without NMI exiting");
        let window = first & primary::NMI_WINDOW != 0;
        self.rule(window && !virtual_nmis, "primary controls: NMI window without virtual NMIs");
        let tagged = second & secondary::VPID != 0;
        self.rule(tagged && self.word(field::VPID) as u16 == 0, "VPID: is 0");
        self.tables(second);
    }

    /// The virtual APIC, virtual and posted interrupts.
    fn apic(&mut self, pins: u32, first: u32, second: u32) {
        let has = |bit: u32| second & bit != 0;
        let delivery = has(secondary::DELIVERY);
        if first & primary::TPR_SHADOW != 0 {
            let page = self.read(field::VIRTUAL_APIC);
            self.rule(self.off(page, 4096), "virtual-APIC address: no page's address");
            if !delivery {
                let threshold = self.read(field::TPR_THRESHOLD);
                self.rule(threshold >> 4 != 0, "TPR threshold: over 15");
                let above = threshold & 0xf > u64::from(self.snapshot.tpr >> 4);
                let compared = !has(secondary::APIC_ACCESSES);
                self.rule(compared && above, "TPR threshold: above the TPR");
            }
        } else {
            let needing = secondary::X2APIC | secondary::APIC_REGISTERS | secondary::DELIVERY;
            self.rule(has(needing), "secondary controls: a virtual APIC without the TPR shadow");
        }
        if has(secondary::APIC_ACCESSES) {
            let page = self.read(field::APIC_ACCESS);
            self.rule(self.off(page, 4096), "APIC-access address: no page's address");
            let both = has(secondary::X2APIC);
            self.rule(both, "secondary controls: both APIC accesses and x2APIC mode");
        }
        let exits = pins & pin::EXTERNAL_INTERRUPT != 0;
        let rule = "secondary controls: interrupt delivery without external-interrupt exiting";
        self.rule(delivery && !exits, rule);
        if pins & pin::POSTED != 0 {
            let rule = "pin-based controls: posted interrupts without interrupt delivery";
            self.rule(!delivery, rule);
            let acknowledge = self.word(field::EXIT) & exit::ACKNOWLEDGE != 0;
            self.rule(!acknowledge, "VM-exit controls: posted interrupts without acknowledging");
            let vector = self.read(field::POSTED_VECTOR);
            self.rule(vector >> 8 != 0, "posted-interrupt vector: over 255");
            let descriptor = self.read(field::POSTED_DESCRIPTOR);
            self.rule(self.off(descriptor, 64), "posted-interrupt descriptor: its address");
        }
    }

    /// EPT and what needs it.
    fn tables(&mut self, second: u32) {
        let has = |bit: u32| second & bit != 0;
        let caps = self.cpu.capabilities.ept_vpid;
        if has(secondary::EPT) {
            let eptp = self.read(field::EPTP);
            let known = match eptp & 7 {
                UNCACHED => caps & ept_vpid::UNCACHED != 0,
                WRITE_BACK => caps & ept_vpid::WRITE_BACK != 0,
                _ => false,
            };
            self.rule(!known, "EPTP: memory type");
            let walk = eptp >> 3 & 7 == 3 && caps & ept_vpid::WALK_4 != 0;
            self.rule(!walk, "EPTP: levels of the walk");
            let dirty = eptp & EPTP_DIRTY != 0 && caps & ept_vpid::DIRTY == 0;
            self.rule(dirty, "EPTP: accessed and dirty flags that this CPU has not");
            self.rule(eptp >> 7 & 0x1f != 0, "EPTP: reserved bits");
            self.rule(self.beyond(eptp), "EPTP: address");
        } else {
            let needing = [
                (secondary::UNRESTRICTED, "secondary controls: unrestricted guest without EPT"),
                (secondary::PML, "secondary controls: page-modification log without EPT"),
                (secondary::EXECUTE_BY_MODE, "secondary controls: execution by mode without EPT"),
                (secondary::SUB_PAGE, "secondary controls: sub-page permissions without EPT"),
                (secondary::TRACE_PHYSICAL, "secondary controls: trace addresses without EPT"),
            ];
            for (bit, rule) in needing {
                self.rule(has(bit), rule);
            }
        }
        let pages = [
            (secondary::PML, field::PML, "PML address: no page's address"),
            (secondary::VMCS_SHADOW, field::VMREAD_MAP, "VMREAD bitmap: no page's address"),
            (secondary::VMCS_SHADOW, field::VMWRITE_MAP, "VMWRITE bitmap: no page's address"),
            (secondary::VE, field::VE_INFO, "#VE information: no page's address"),
        ];
        for (bit, page, rule) in pages {
            self.rule(has(bit) && self.off(self.read(page), 4096), rule);
        }
        if has(secondary::FUNCTIONS) {
            // Bit 0, EPTP switching, is the only function there is (A.11).
            let functions = self.read(field::FUNCTIONS);
            self.rule(functions & !1 != 0, "VM-function controls: reserved bits");
            if functions & 1 != 0 {
                let rule = "VM-function controls: EPTP switching without EPT";
                self.rule(!has(secondary::EPT), rule);
                let list = self.read(field::EPTP_LIST);
                self.rule(self.off(list, 4096), "EPTP list: no page's address");
            }
        }
    }

    /// VM-exit controls (27.2.1.2).
    pub(super) fn exit_controls(&mut self) {
        let controls = self.word(field::EXIT);
        let wrong = against(controls, self.cpu.capabilities.exit);
        self.rule(wrong, "VM-exit controls: not as this CPU has them");
        let timer = self.word(field::PIN) & pin::TIMER != 0;
        let saved = controls & exit::SAVE_TIMER != 0;
        self.rule(saved && !timer, "VM-exit controls: a timer is saved that does not run");
        let (store, load) = (field::EXIT_STORE, field::EXIT_LOAD);
        self.list(field::EXIT_STORE_COUNT, store, "VM-exit MSR-store address");
        self.list(field::EXIT_LOAD_COUNT, load, "VM-exit MSR-load address");
    }

    /// A list of MSRs.
    fn list(&mut self, count: u32, address: u32, rule: &'static str) {
        let count = self.read(count);
        if count != 0 {
            let first = self.read(address);
            let last = first.saturating_add(count * MSR_ENTRY - 1);
            self.rule(self.off(first, MSR_ENTRY) || self.beyond(last), rule);
        }
    }

    /// VM-entry controls (27.2.1.3).
    pub(super) fn entry_controls(&mut self) {
        let controls = self.word(field::ENTRY);
        let wrong = against(controls, self.cpu.capabilities.entry);
        self.rule(wrong, "VM-entry controls: not as this CPU has them");
        let smm = controls & (entry::TO_SMM | entry::DEACTIVATE_SMM) != 0;
        self.rule(smm, "VM-entry controls: SMM");
        self.injection();
        let load = field::ENTRY_LOAD;
        self.list(field::ENTRY_LOAD_COUNT, load, "VM-entry MSR-load address");
    }

    /// Type, vector, error code and length go together.
    fn injection(&mut self) {
        let Some((kind, info)) = self.event() else {
            return;
        };
        let trap = self.cpu.capabilities.primary >> 32 & u64::from(primary::TRAP_FLAG) != 0;
        let vector = info as u8;
        let reserved = kind == 1 << 8 || kind == event::OTHER && !trap;
        self.rule(reserved, "VM-entry event: its type");
        let bad = match kind {
            event::NMI => vector != 2,
            event::HARDWARE => vector > 31,
            event::OTHER => vector != 0,
            _ => false,
        };
        self.rule(bad, "VM-entry event: its vector");
        let protected = self.read(field::GUEST_CR0) & cr0::PE != 0;
        let errors = kind == event::HARDWARE
            && (protected || !self.unrestricted())
            && matches!(vector, 8 | 10..=14 | 17);
        let error = info & event::ERROR != 0;
        // Some CPUs leave it to us (bit 56 of IA32_VMX_BASIC): not used.
        self.rule(error != errors, "VM-entry event: with or without an error code");
        self.rule(info & 0x7fff_f000 != 0, "VM-entry event: reserved bits");
        if error {
            let code = self.read(field::ENTRY_ERROR);
            self.rule(code >> 16 != 0, "VM-entry error code: reserved bits");
        }
        if matches!(kind, event::SOFTWARE | event::PRIVILEGED | event::SOFTWARE_EXCEPTION) {
            let length = self.read(field::ENTRY_LENGTH);
            // 0 only where IA32_VMX_MISC has bit 30 (A.6).
            let zero = self.cpu.capabilities.misc >> 30 & 1 == 1;
            let good = length <= 15 && (length != 0 || zero);
            self.rule(!good, "VM-entry instruction length");
        }
    }
}
