// SPDX-License-Identifier: MIT OR Apache-2.0
//! A good VMCS breaks no rule, and one that is spoilt in one place breaks the
//! rule of that place, told by its name.
//!
//! Length: a line a rule.

use super::*;
use crate::vendor::context::after_init;
use crate::vendor::context::tests::{LIMITS, long_mode};
use crate::vendor::regs::{PAT_RESET, cr0, cr4, efer, rflags};
use crate::vendor::vmx::controls::tests::recent;
use crate::vendor::vmx::layout::{EPTP_FORM, exit, pin, primary};
use crate::vendor::vmx::state::tests::{OWNED, stored};
use hv_abi::vcpu::VcpuContext;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

pub type Fields = BTreeMap<u32, u64>;

/// Controls and host state that go with a context's fields.
pub fn around(mut fields: Fields) -> Fields {
    let c = recent();
    let must = |capability: u64| capability & 0xffff_ffff;
    let long = fields[&field::ENTRY];
    let loads = entry::LOAD_DEBUG | entry::LOAD_PAT | entry::LOAD_EFER;
    let exits = exit::HOST_64 | exit::LOAD_PAT | exit::LOAD_EFER | exit::ACKNOWLEDGE;
    let first =
        primary::SECONDARY | primary::TPR_SHADOW | primary::IO_BITMAPS | primary::MSR_BITMAPS;
    let second = secondary::EPT | secondary::UNRESTRICTED | secondary::VPID;
    let pins = pin::NMI | pin::VIRTUAL_NMIS | pin::EXTERNAL_INTERRUPT;
    fields.extend([
        (field::PIN, must(c.pin) | u64::from(pins)),
        (field::PRIMARY, must(c.primary) | u64::from(first)),
        (field::SECONDARY, second.into()),
        (field::EXIT, must(c.exit) | u64::from(exits)),
        (field::ENTRY, must(c.entry) | u64::from(loads) | long),
        (field::EPTP, 0x5000 | EPTP_FORM),
        (field::VPID, 1),
        (field::LINK, u64::MAX),
        (field::HOST_CR0, c.cr0_fixed0),
        (field::HOST_CR3, 0x1000),
        (field::HOST_CR4, cr4::PAE | cr4::VMXE),
        (field::HOST_PAT, PAT_RESET),
        (field::HOST_EFER, efer::LME | efer::LMA | efer::NXE),
        (field::HOST_SELECTOR + 2, 8),
        (field::HOST_SELECTOR + 4, 0x10),
        (field::HOST_TR, 0x18),
        (field::HOST_RIP, 0xffff_ffff_8020_0000),
    ]);
    fields
}

/// A 64-bit guest's VMCS.
fn good() -> Fields {
    around(stored(&long_mode()))
}

fn of(context: &VcpuContext) -> Fields {
    around(stored(context))
}

fn judge(fields: &Fields, tpr: u8) -> Vec<&'static str> {
    let capabilities = recent();
    let limits = Limits { cr4: LIMITS.cr4 | cr4::MCE, ..LIMITS };
    let cpu = Cpu { capabilities: &capabilities, limits: &limits };
    let read = |field: u32| fields.get(&field).copied().unwrap_or(0);
    let mut broken = Vec::new();
    each(&cpu, &Snapshot { read: &read, tpr }, &mut |rule| broken.push(rule));
    broken
}

/// `base` with one field changed breaks `rule`, perhaps among others.
#[track_caller]
fn breaks(base: &Fields, rule: &str, change: &[(u32, u64)]) {
    let mut fields = base.clone();
    fields.extend(change.iter().copied());
    let broken = judge(&fields, 0);
    let told = broken.iter().any(|b| b.starts_with(rule));
    assert!(told, "{rule} is not among {broken:?}");
}

fn rights(index: u32) -> u32 {
    field::GUEST_RIGHTS + 2 * index
}

const ES: u32 = 0;
const CS: u32 = 1;
const SS: u32 = 2;
const DS: u32 = 3;
const FS: u32 = 4;
const LDTR: u32 = 6;
const TR: u32 = 7;

#[test]
fn good_ones_break_nothing() {
    let none: [&str; 0] = [];
    assert_eq!(judge(&good(), 0), none);
    assert_eq!(judge(&of(&after_init(0)), 0), none);
    assert_eq!(OWNED.cr0_fixed & !recent().cr0_fixed0, 0, "the tests' CPUs agree");
}

#[test]
fn controls() {
    let base = good();
    let with = |field: u32, bits: u32| (field, base[&field] | u64::from(bits));
    let without = |field: u32, bits: u32| (field, base[&field] & !u64::from(bits));
    let second = |bits: u32| with(field::SECONDARY, bits);
    let cases: &[(&str, &[(u32, u64)])] = &[
        ("pin-based controls: not as", &[(field::PIN, 0)]),
        ("primary controls: not as", &[(field::PRIMARY, 1 << 31)]),
        ("primary controls: tertiary", &[with(field::PRIMARY, primary::TERTIARY)]),
        ("CR3-target count", &[(field::CR3_TARGETS, 5)]),
        ("I/O bitmap A", &[(field::IO_BITMAP_A, 1)]),
        ("I/O bitmap B", &[(field::IO_BITMAP_B, 1 << 40)]),
        ("MSR bitmap", &[(field::MSR_BITMAP, 0x800)]),
        ("virtual-APIC address", &[(field::VIRTUAL_APIC, 5)]),
        ("TPR threshold: over 15", &[(field::TPR_THRESHOLD, 16)]),
        ("TPR threshold: above the TPR", &[(field::TPR_THRESHOLD, 1)]),
        (
            "secondary controls: a virtual APIC without",
            &[second(secondary::X2APIC), without(field::PRIMARY, primary::TPR_SHADOW)],
        ),
        ("APIC-access address", &[second(secondary::APIC_ACCESSES), (field::APIC_ACCESS, 0x10)]),
        (
            "secondary controls: both APIC accesses",
            &[second(secondary::APIC_ACCESSES | secondary::X2APIC)],
        ),
        (
            "secondary controls: interrupt delivery without",
            &[second(secondary::DELIVERY), without(field::PIN, pin::EXTERNAL_INTERRUPT)],
        ),
        ("pin-based controls: posted", &[with(field::PIN, pin::POSTED)]),
        (
            "VM-exit controls: posted",
            &[with(field::PIN, pin::POSTED), without(field::EXIT, exit::ACKNOWLEDGE)],
        ),
        (
            "posted-interrupt vector",
            &[with(field::PIN, pin::POSTED), (field::POSTED_VECTOR, 0x100)],
        ),
        (
            "posted-interrupt descriptor",
            &[with(field::PIN, pin::POSTED), (field::POSTED_DESCRIPTOR, 0x20)],
        ),
        ("pin-based controls: virtual NMIs", &[without(field::PIN, pin::NMI)]),
        (
            "primary controls: NMI window",
            &[with(field::PRIMARY, primary::NMI_WINDOW), without(field::PIN, pin::VIRTUAL_NMIS)],
        ),
        ("VPID", &[(field::VPID, 0x1_0000)]),
        ("EPTP: memory type", &[(field::EPTP, 0x5000 | 5 | 3 << 3)]),
        ("EPTP: levels", &[(field::EPTP, 0x5000 | 6 | 4 << 3)]),
        ("EPTP: reserved", &[(field::EPTP, 0x5000 | EPTP_FORM | 1 << 8)]),
        ("EPTP: address", &[(field::EPTP, 1 << 40 | EPTP_FORM)]),
        ("secondary controls: unrestricted", &[without(field::SECONDARY, secondary::EPT)]),
        ("secondary controls: page-modification", &[(field::SECONDARY, secondary::PML.into())]),
        ("secondary controls: execution", &[(field::SECONDARY, secondary::EXECUTE_BY_MODE.into())]),
        ("secondary controls: sub-page", &[(field::SECONDARY, secondary::SUB_PAGE.into())]),
        ("secondary controls: trace", &[(field::SECONDARY, secondary::TRACE_PHYSICAL.into())]),
        ("PML address", &[second(secondary::PML), (field::PML, 8)]),
        ("VMREAD bitmap", &[second(secondary::VMCS_SHADOW), (field::VMREAD_MAP, 8)]),
        ("VMWRITE bitmap", &[second(secondary::VMCS_SHADOW), (field::VMWRITE_MAP, 8)]),
        ("#VE information", &[second(secondary::VE), (field::VE_INFO, 8)]),
        ("VM-function controls: reserved", &[second(secondary::FUNCTIONS), (field::FUNCTIONS, 2)]),
        (
            "VM-function controls: EPTP",
            &[(field::SECONDARY, secondary::FUNCTIONS.into()), (field::FUNCTIONS, 1)],
        ),
        (
            "EPTP list",
            &[second(secondary::FUNCTIONS), (field::FUNCTIONS, 1), (field::EPTP_LIST, 8)],
        ),
        ("VM-exit controls: not as", &[(field::EXIT, exit::HOST_64.into())]),
        ("VM-exit controls: a timer", &[with(field::EXIT, exit::SAVE_TIMER)]),
        ("VM-exit MSR-store", &[(field::EXIT_STORE_COUNT, 1), (field::EXIT_STORE, 8)]),
        ("VM-exit MSR-load", &[(field::EXIT_LOAD_COUNT, 2), (field::EXIT_LOAD, (1 << 40) - 16)]),
        ("VM-entry MSR-load", &[(field::ENTRY_LOAD_COUNT, 1), (field::ENTRY_LOAD, 1 << 40)]),
        ("VM-entry controls: not as", &[(field::ENTRY, entry::GUEST_64.into())]),
        ("VM-entry controls: SMM", &[with(field::ENTRY, entry::TO_SMM)]),
    ];
    for (rule, change) in cases {
        breaks(&base, rule, change);
    }
    // A CPU that has no secondary controls at all.
    let capabilities = Capabilities { secondary: 0, ..recent() };
    let cpu = Cpu { capabilities: &capabilities, limits: &LIMITS };
    let read = |field: u32| base.get(&field).copied().unwrap_or(0);
    let told = check(&cpu, &Snapshot { read: &read, tpr: 0 });
    assert_eq!(told, Err("secondary controls: not as this CPU has them"));
}

#[test]
fn the_threshold_is_compared_with_the_priority() {
    let mut fields = good();
    fields.insert(field::TPR_THRESHOLD, 3);
    assert!(judge(&fields, 0x30).is_empty());
    assert_eq!(judge(&fields, 0x2f), ["TPR threshold: above the TPR"]);
    // With delivery by the CPU the field does not count.
    *fields.get_mut(&field::SECONDARY).unwrap() |= u64::from(secondary::DELIVERY);
    assert!(judge(&fields, 0).is_empty());
}

#[test]
fn events() {
    let base = good();
    let open = (field::GUEST_RFLAGS, rflags::FIXED | rflags::IF);
    let event = |info: u32| (field::ENTRY_EVENT, u64::from(info));
    for (rule, change) in [
        ("VM-entry event: its type", [event(0x8000_0131), open]),
        ("VM-entry event: its vector", [event(0x8000_0203), open]),
        ("VM-entry event: its vector", [event(0x8000_0320), open]),
        ("VM-entry event: its vector", [event(0x8000_0701), open]),
        ("VM-entry event: with or without", [event(0x8000_030d), open]),
        ("VM-entry event: with or without", [event(0x8000_0830), open]),
        ("VM-entry event: reserved", [event(0x8000_1031), open]),
        ("VM-entry error code", [event(0x8000_0b0d), (field::ENTRY_ERROR, 1 << 16)]),
        ("VM-entry instruction length", [event(0x8000_0480), (field::ENTRY_LENGTH, 16)]),
        ("guest RFLAGS: IF", [event(0x8000_0031), (field::GUEST_RFLAGS, 2)]),
    ] {
        breaks(&base, rule, &change);
    }
    for info in [0x8000_0031, 0x8000_0202, 0x8000_0b0d, 0x8000_0306] {
        let mut fields = base.clone();
        fields.extend([event(info), open]);
        assert!(judge(&fields, 0).is_empty(), "{info:#x}");
    }
    // Real mode has no error codes.
    let mut real = of(&after_init(0));
    real.extend([event(0x8000_030d)]);
    assert!(judge(&real, 0).is_empty());
}

#[test]
fn host() {
    let base = good();
    for (rule, field, value) in [
        ("host CR0: a bit that must be 1", field::HOST_CR0, 0),
        ("host CR0: a bit that must be 0", field::HOST_CR0, u64::MAX),
        ("host CR4: a bit that must be 1", field::HOST_CR4, cr4::PAE),
        ("host CR4: a bit that must be 0", field::HOST_CR4, u64::MAX),
        ("host CR4: no PAE", field::HOST_CR4, cr4::VMXE),
        ("host CR3", field::HOST_CR3, 1 << 40),
        ("host SYSENTER_ESP", field::HOST_SYSENTER_ESP, 1 << 47),
        ("host SYSENTER_EIP", field::HOST_SYSENTER_EIP, 1 << 47),
        ("host FS base", field::HOST_FS_BASE, 1 << 47),
        ("host GS base", field::HOST_GS_BASE, 1 << 47),
        ("host TR base", field::HOST_TR_BASE, 1 << 47),
        ("host GDTR base", field::HOST_GDTR_BASE, 1 << 47),
        ("host IDTR base", field::HOST_IDTR_BASE, 1 << 47),
        ("host RIP", field::HOST_RIP, 1 << 47),
        ("host PAT", field::HOST_PAT, 2),
        ("host EFER: reserved", field::HOST_EFER, 1 << 1),
        ("host EFER: LME", field::HOST_EFER, efer::LME),
        ("host CS selector", field::HOST_SELECTOR + 2, 0),
        ("host SS selector", field::HOST_SELECTOR + 4, 3),
        ("host GS selector", field::HOST_SELECTOR + 10, 4),
        ("host TR selector", field::HOST_TR, 0),
        ("VM-exit controls: the host is 64-bit", field::EXIT, 0),
    ] {
        breaks(&base, rule, &[(field, value)]);
    }
}

#[test]
fn guest() {
    let base = good();
    let cr0 = base[&field::GUEST_CR0];
    let cr4 = base[&field::GUEST_CR4];
    let sti = (field::INTERRUPTIBILITY, 1);
    let open = (field::GUEST_RFLAGS, rflags::FIXED | rflags::IF);
    let cases: &[(&str, &[(u32, u64)])] = &[
        ("guest CR0: a bit that must be 1", &[(field::GUEST_CR0, cr0 & !cr0::NE)]),
        ("guest CR0: a bit that must be 0", &[(field::GUEST_CR0, cr0 | 1 << 32)]),
        ("guest CR0: PG without PE", &[(field::GUEST_CR0, cr0 & !cr0::PE)]),
        ("guest CR0: IA-32e mode without PG", &[(field::GUEST_CR0, cr0 & !cr0::PG)]),
        ("guest CR4: a bit that must be 1", &[(field::GUEST_CR4, cr4 & !cr4::VMXE)]),
        ("guest CR4: a bit that must be 0", &[(field::GUEST_CR4, cr4 | 1 << 40)]),
        ("guest CR4: IA-32e mode without PAE", &[(field::GUEST_CR4, cr4 & !cr4::PAE)]),
        (
            "guest CR4: PCIDE outside",
            &[(field::GUEST_CR4, cr4 | cr4::PCIDE), (field::ENTRY, 0x11fb)],
        ),
        ("guest CR3", &[(field::GUEST_CR3, 1 << 40)]),
        ("guest DEBUGCTL", &[(field::GUEST_DEBUGCTL, 1 << 2)]),
        ("guest DR7", &[(field::GUEST_DR7, 1 << 32)]),
        ("guest SYSENTER_ESP", &[(field::GUEST_SYSENTER_ESP, 1 << 47)]),
        ("guest SYSENTER_EIP", &[(field::GUEST_SYSENTER_EIP, 1 << 47)]),
        ("guest PAT", &[(field::GUEST_PAT, 2)]),
        ("guest EFER: reserved", &[(field::GUEST_EFER, 1 << 1)]),
        ("guest EFER: LMA and", &[(field::GUEST_EFER, efer::LME)]),
        ("guest EFER: LMA is not", &[(field::GUEST_EFER, efer::LMA)]),
        ("guest GDTR base", &[(field::GDTR_BASE, 1 << 47)]),
        ("guest IDTR base", &[(field::IDTR_BASE, 1 << 47)]),
        ("guest GDTR limit", &[(field::GDTR_LIMIT, 1 << 16)]),
        ("guest IDTR limit", &[(field::IDTR_LIMIT, 1 << 16)]),
        ("guest RIP", &[(field::GUEST_RIP, 1 << 47)]),
        ("guest RFLAGS: a bit", &[(field::GUEST_RFLAGS, 2 | 8)]),
        ("guest RFLAGS: bit 1", &[(field::GUEST_RFLAGS, 0)]),
        ("guest RFLAGS: VM", &[(field::GUEST_RFLAGS, 2 | rflags::VM)]),
        ("guest activity state: not one", &[(field::ACTIVITY, 4)]),
        ("guest activity state: HLT", &[(field::ACTIVITY, 1), (rights(SS), 0xc0f3)]),
        ("guest activity state: asleep", &[(field::ACTIVITY, 1), sti, open]),
        (
            "guest activity state: the VM-entry event",
            &[(field::ACTIVITY, 3), (field::ENTRY_EVENT, 0x8000_0202)],
        ),
        (
            "guest activity state: the VM-entry event",
            &[(field::ACTIVITY, 2), (field::ENTRY_EVENT, 0x8000_0306)],
        ),
        ("guest interruptibility: reserved", &[(field::INTERRUPTIBILITY, 1 << 5)]),
        ("guest interruptibility: both", &[(field::INTERRUPTIBILITY, 3), open]),
        ("guest interruptibility: STI", &[sti]),
        ("guest interruptibility: SMI", &[(field::INTERRUPTIBILITY, 1 << 2)]),
        ("guest interruptibility: an enclave", &[(field::INTERRUPTIBILITY, 1 << 4)]),
        (
            "guest interruptibility: a shadow, and the VM-entry event is an interrupt",
            &[sti, open, (field::ENTRY_EVENT, 0x8000_0031)],
        ),
        (
            "guest interruptibility: a shadow, and the VM-entry event is an NMI",
            &[(field::INTERRUPTIBILITY, 2), (field::ENTRY_EVENT, 0x8000_0202)],
        ),
        (
            "guest interruptibility: NMIs",
            &[(field::INTERRUPTIBILITY, 8), (field::ENTRY_EVENT, 0x8000_0202)],
        ),
        ("guest pending debug exceptions: reserved", &[(field::PENDING_DEBUG, 1 << 4)]),
        (
            "guest pending debug exceptions: BS",
            &[sti, (field::GUEST_RFLAGS, rflags::FIXED | rflags::IF | rflags::TF)],
        ),
        ("guest pending debug exceptions: RTM", &[(field::PENDING_DEBUG, 1 << 16 | 1)]),
        ("VMCS link pointer", &[(field::LINK, 0)]),
    ];
    for (rule, change) in cases {
        breaks(&base, rule, change);
    }
    let pae = [
        (field::ENTRY, 0x11fb | u64::from(entry::LOAD_EFER)),
        (field::GUEST_EFER, 0),
        (rights(CS), 0xc09b),
    ];
    let mut fields = base.clone();
    fields.extend(pae);
    fields.insert(field::GUEST_PDPTE + 2, 0x1001);
    assert!(judge(&fields, 0).is_empty(), "{:?}", judge(&fields, 0));
    breaks(&fields, "guest PDPTE", &[(field::GUEST_PDPTE + 6, 3)]);
    // One that is not present may hold anything.
    fields.insert(field::GUEST_PDPTE, 6);
    assert!(judge(&fields, 0).is_empty());
}

#[test]
fn segments() {
    let base = good();
    let real = of(&after_init(0));
    for (base, rule, field, value) in [
        (&base, "guest CS rights: type", rights(CS), 0xa091),
        (&base, "guest CS rights: type", rights(CS), 0xa08b),
        (&base, "guest CS rights: DPL", rights(CS), 0xa0fb),
        (&base, "guest CS rights: DPL", rights(CS), 0xa0f3),
        (&base, "guest CS rights: both", rights(CS), 0xe09b),
        (&base, "guest CS rights: not present", rights(CS), 0xa01b),
        (&base, "guest CS rights: not present", rights(CS), 0x1_a09b),
        (&base, "guest CS rights: reserved", rights(CS), 0xa19b),
        (&base, "guest CS limit", rights(CS), 0x209b),
        (&base, "guest CS base", field::GUEST_BASE + 2, 1 << 32),
        (&base, "guest SS rights: type", rights(SS), 0xc09b),
        (&base, "guest SS rights: type", rights(SS), 0xc083),
        (&base, "guest SS base", field::GUEST_BASE + 4, 1 << 32),
        (&real, "guest SS rights: DPL in real", rights(SS), 0xf3),
        (&base, "guest DS rights: type", rights(DS), 0xc092),
        (&base, "guest DS rights: type", rights(DS), 0xc099),
        (&base, "guest ES rights: reserved", rights(ES), 0x8_c093),
        (&base, "guest ES limit", field::GUEST_LIMIT, 0xffff_fffe),
        (&base, "guest FS base", field::GUEST_BASE + 2 * FS, 1 << 47),
        (&base, "guest TR selector", field::GUEST_SELECTOR + 2 * TR, 4),
        (&base, "guest TR rights: type", rights(TR), 0x89),
        (&base, "guest TR rights: type", rights(TR), 0x83),
        (&base, "guest TR rights: unusable", rights(TR), 0x1_008b),
        (&base, "guest TR rights: not present", rights(TR), 0x0b),
        (&base, "guest TR base", field::GUEST_BASE + 2 * TR, 1 << 47),
        (&base, "guest LDTR rights: type", rights(LDTR), 0x8b),
        (&base, "guest LDTR selector", field::GUEST_SELECTOR + 2 * LDTR, 4),
    ] {
        breaks(base, rule, &[(field, value)]);
    }
    // An unusable one may be anything.
    let mut fields = base.clone();
    fields.insert(rights(DS), 0x1_0000);
    fields.insert(rights(LDTR), 0x1_ffff);
    assert!(judge(&fields, 0).is_empty());
}

#[test]
fn privilege_counts_without_an_unrestricted_guest() {
    let mut base = good();
    *base.get_mut(&field::SECONDARY).unwrap() &= !u64::from(secondary::UNRESTRICTED);
    let told = judge(&base, 0);
    assert!(told.is_empty(), "{told:?}");
    breaks(&base, "guest SS selector", &[(field::GUEST_SELECTOR + 4, 0x1b)]);
    breaks(&base, "guest SS rights: DPL is not", &[(rights(SS), 0xc0f3)]);
    breaks(&base, "guest data segment", &[(field::GUEST_SELECTOR + 2 * DS, 0x1b)]);
    breaks(&base, "guest CS rights: type", &[(rights(CS), 0xa093)]);
    breaks(&base, "guest CR0: a bit that must be 1", &[(field::GUEST_CR0, cr0::NE | cr0::PE)]);
}

#[test]
fn virtual_8086_mode_has_rules_of_its_own() {
    let mut c = long_mode();
    (c.efer, c.cr4, c.cr0) = (0, 0, cr0::PE | cr0::ET);
    let mut fields = of(&c);
    fields.insert(field::GUEST_RFLAGS, rflags::FIXED | rflags::VM);
    for index in 0..6 {
        fields.insert(field::GUEST_SELECTOR + 2 * index, 0x1234);
        fields.insert(field::GUEST_BASE + 2 * index, 0x12340);
        fields.insert(field::GUEST_LIMIT + 2 * index, 0xffff);
        fields.insert(rights(index), 0xf3);
    }
    let told = judge(&fields, 0);
    assert!(told.is_empty(), "{told:?}");
    for (field, value) in
        [(field::GUEST_BASE, 0), (field::GUEST_LIMIT, 0xfffff), (rights(ES), 0x93)]
    {
        breaks(&fields, "guest ES: not of virtual-8086 mode", &[(field, value)]);
    }
}

#[test]
fn texts_name_a_field_and_a_rule() {
    let fields = Fields::from([(field::PRIMARY, u64::MAX), (field::SECONDARY, u64::MAX)]);
    let told: String = judge(&fields, 0).join("\n");
    assert!(told.contains("guest RFLAGS: bit 1") && told.contains("host CS selector"));
}
