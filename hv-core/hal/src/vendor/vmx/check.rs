// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM entry checks (SDM Vol. 3, 27.2, 27.3), so that a refused entry
//! is explained, and a wrong one found before it runs. The guest's registers
//! are judged by [`context::check`], which follows 27.3.1.

use super::layout::{EPTP_FORM, entry, event, field, pin, primary, secondary, shadow};
use super::state::{self, Owned};
use crate::vendor::context::{self, Limits};
use crate::vendor::regs::{cr0, dr6, efer, rflags};

/// What the CPU is like.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'a> {
    pub owned: &'a Owned,
    pub limits: &'a Limits,
}

/// The first thing that a VM entry would not accept.
pub fn check(cpu: &Cpu<'_>, read: &dyn Fn(u32) -> u64) -> Result<(), &'static str> {
    let word = |field: u32| read(field) as u32;
    let (first, second) = (word(field::PRIMARY), word(field::SECONDARY));
    let page = |field: u32| {
        let address = read(field);
        address & 0xfff != 0 || address >> cpu.limits.physical_bits != 0
    };
    let has = |set: u32, bit: u32| set & bit != 0;
    let efer = read(field::GUEST_EFER);
    let long = has(word(field::ENTRY), entry::GUEST_64);
    let open = read(field::GUEST_RFLAGS) & rflags::IF != 0;
    let shadows = read(field::INTERRUPTIBILITY);
    let info = word(field::ENTRY_EVENT);
    let valid = has(info, event::VALID);
    let interrupt = valid && info & event::TYPE == event::INTERRUPT;
    let nmi = valid && info & event::TYPE == event::NMI;
    let blocked = shadow::STI | shadow::MOV_SS;
    let threshold = read(field::TPR_THRESHOLD);
    let eptp = read(field::EPTP);
    let rules = [
        (!has(first, primary::SECONDARY), "secondary controls are off"),
        (!has(second, secondary::EPT), "EPT is off"),
        (!has(second, secondary::UNRESTRICTED), "unrestricted guest is off"),
        (eptp & 0xfff != EPTP_FORM, "EPTP: form"),
        (eptp >> cpu.limits.physical_bits != 0, "EPTP: address"),
        (has(second, secondary::VPID) && read(field::VPID) == 0, "VPID is 0"),
        (page(field::IO_BITMAP_A) || page(field::IO_BITMAP_B), "the port map's address"),
        (page(field::MSR_BITMAP), "the MSR map's address"),
        (has(first, primary::TPR_SHADOW) && page(field::VIRTUAL_APIC), "the APIC page's address"),
        (threshold > 15, "the TPR threshold"),
        (
            has(first, primary::NMI_WINDOW) && !has(word(field::PIN), pin::VIRTUAL_NMIS),
            "NMI window without virtual NMIs",
        ),
        (long != (efer & efer::LMA != 0), "IA-32e mode guest is not EFER.LMA"),
        (read(field::LINK) != u64::MAX, "VMCS link pointer"),
        (read(field::ACTIVITY) != 0, "activity state"),
        (shadows & !0xf != 0, "interruptibility: reserved bits"),
        (shadows & blocked == blocked, "interruptibility: both STI and MOV SS"),
        (shadows & shadow::STI != 0 && !open, "interruptibility: STI with IF clear"),
        (interrupt && (!open || shadows & blocked != 0), "an interrupt for a closed guest"),
        (nmi && shadows & shadow::MOV_SS != 0, "an NMI in a MOV SS shadow"),
        (!legal(info, read(field::GUEST_CR0) & cr0::PE != 0), "the event is not legal"),
    ];
    if let Some(rule) = rules.iter().find(|rule| rule.0) {
        return Err(rule.1);
    }
    let mut context = state::load(cpu.owned, read);
    // Not in the VMCS, and not checked at entry.
    (context.dr6, context.xcr0) = (dr6::RESET, 0);
    // A guest may be in virtual-8086 mode, where segments have other rules
    // (27.3.1.2), or have loaded a segment in a way that `check` would not set.
    if context.rflags & rflags::VM != 0 {
        return Ok(());
    }
    context::check(&context, cpu.limits)
}

/// 27.2.1.3: type, vector and error code go together.
fn legal(info: u32, protected: bool) -> bool {
    let vector = info as u8;
    let error = info & event::ERROR != 0;
    let wants_error = protected && matches!(vector, 8 | 10..=14 | 17);
    match info & event::TYPE {
        _ if info & event::VALID == 0 => true,
        event::INTERRUPT => !error,
        event::NMI => vector == 2 && !error,
        event::HARDWARE => vector < 32 && vector != 2 && error == wants_error,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::context::tests::{LIMITS, long_mode};
    use crate::vendor::regs::cr4;
    use crate::vendor::vmx::state::tests::{OWNED, stored};
    use std::collections::BTreeMap;

    fn good() -> BTreeMap<u32, u64> {
        let mut fields = stored(&long_mode());
        fields.extend([
            (field::PIN, u64::from(pin::VIRTUAL_NMIS)),
            (field::PRIMARY, u64::from(primary::SECONDARY | primary::TPR_SHADOW)),
            (
                field::SECONDARY,
                u64::from(secondary::EPT | secondary::UNRESTRICTED | secondary::VPID),
            ),
            (field::EPTP, 0x5000 | EPTP_FORM),
            (field::VPID, 1),
            (field::LINK, u64::MAX),
        ]);
        fields
    }

    fn judge(fields: &BTreeMap<u32, u64>) -> Result<(), &'static str> {
        let limits = Limits { cr4: LIMITS.cr4 | cr4::MCE, ..LIMITS };
        let cpu = Cpu { owned: &OWNED, limits: &limits };
        check(&cpu, &|field| fields.get(&field).copied().unwrap_or(0))
    }

    #[test]
    fn each_rule_is_told_by_its_name() {
        assert_eq!(judge(&good()), Ok(()));
        let cases = [
            ("secondary controls are off", field::PRIMARY, 0),
            ("EPT is off", field::SECONDARY, 0),
            ("unrestricted guest is off", field::SECONDARY, u64::from(secondary::EPT)),
            ("EPTP: form", field::EPTP, 0x5000),
            ("EPTP: address", field::EPTP, 1 << 40 | EPTP_FORM),
            ("VPID is 0", field::VPID, 0),
            ("the port map's address", field::IO_BITMAP_B, 1),
            ("the MSR map's address", field::MSR_BITMAP, 1 << 40),
            ("the APIC page's address", field::VIRTUAL_APIC, 5),
            ("the TPR threshold", field::TPR_THRESHOLD, 16),
            ("IA-32e mode guest is not EFER.LMA", field::ENTRY, 0),
            ("VMCS link pointer", field::LINK, 0),
            ("activity state", field::ACTIVITY, 1),
            ("interruptibility: both STI and MOV SS", field::INTERRUPTIBILITY, 3),
            ("interruptibility: STI with IF clear", field::INTERRUPTIBILITY, 1),
            ("an interrupt for a closed guest", field::ENTRY_EVENT, 0x8000_0031),
            ("the event is not legal", field::ENTRY_EVENT, 0x8000_030d),
            ("the event is not legal", field::ENTRY_EVENT, 0x8000_0203),
            ("rip", field::GUEST_RIP, 1 << 47),
            ("cr3", field::GUEST_CR3, 1 << 40),
        ];
        for (name, field, value) in cases {
            let mut fields = good();
            fields.insert(field, value);
            assert_eq!(judge(&fields), Err(name));
        }
        let mut fields = good();
        fields.insert(field::ENTRY_EVENT, 0x8000_0b0d);
        assert_eq!(judge(&fields), Ok(()));
    }
}
