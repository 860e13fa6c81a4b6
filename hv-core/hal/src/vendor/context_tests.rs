// SPDX-License-Identifier: MIT OR Apache-2.0
//! Good contexts pass, and each bad field is refused by its name.

use super::*;

pub const LIMITS: Limits = Limits {
    physical_bits: 40,
    efer: efer::SCE | efer::LME | efer::NXE,
    cr4: cr4::PAE | cr4::PSE | cr4::PGE | cr4::PCIDE | cr4::OSXSAVE,
    xcr0: 7,
};

/// As Linux's 64-bit boot protocol wants it.
pub fn long_mode() -> VcpuContext {
    let mut c = after_init(0x800f12);
    c.cr0 = cr0::PE | cr0::PG | cr0::ET;
    c.cr4 = cr4::PAE;
    c.efer = efer::LME | efer::LMA;
    c.rip = 0x100_0200;
    c.segments[segment::CS] =
        Segment { selector: 0x10, rights: 0xa09b, limit: 0xffff_ffff, base: 0 };
    for index in [segment::DS, segment::ES, segment::SS] {
        c.segments[index] = Segment { selector: 0x18, rights: 0xc093, limit: 0xffff_ffff, base: 0 };
    }
    c
}

#[test]
fn good_ones_pass() {
    assert_eq!(check(&after_init(0), &LIMITS), Ok(()));
    assert_eq!(check(&after_sipi(0, 0x9f), &LIMITS), Ok(()));
    assert_eq!(check(&long_mode(), &LIMITS), Ok(()));
    let mut no_data = long_mode();
    no_data.segments[segment::DS] = Segment::default();
    no_data.segments[segment::SS] = Segment::default();
    assert_eq!(check(&no_data, &LIMITS), Ok(()));
    assert!(check(&VcpuContext::default(), &LIMITS).is_err());
}

#[test]
fn a_sipi_starts_at_its_page() {
    let c = after_sipi(0, 0x9a);
    let cs = c.segments[segment::CS];
    assert_eq!((cs.selector, cs.base, c.rip), (0x9a00, 0x9a000, 0));
}

#[test]
fn each_bad_field_is_named() {
    type Spoil = fn(&mut VcpuContext);
    let cases: &[(&str, Spoil)] = &[
        ("cr0: reserved bits", |c| c.cr0 |= 1 << 63),
        ("cr0: PG without PE", |c| c.cr0 &= !cr0::PE),
        ("cr0: NW without CD", |c| c.cr0 |= cr0::NW),
        ("cr4", |c| c.cr4 |= cr4::VMXE),
        ("cr4", |c| c.cr4 |= 1 << 40),
        ("cr4: long mode without PAE", |c| c.cr4 = 0),
        ("efer", |c| c.efer |= efer::SVME),
        ("efer: LMA is not LME and CR0.PG", |c| c.efer &= !efer::LMA),
        ("efer: LMA is not LME and CR0.PG", |c| c.cr0 &= !cr0::PG),
        ("cr3", |c| c.cr3 = 1 << 40),
        ("rflags", |c| c.rflags = 0),
        ("rflags", |c| c.rflags |= 8),
        ("rflags: virtual-8086 mode can't be set", |c| c.rflags |= rflags::VM),
        ("pat", |c| c.pat = 2),
        ("dr6", |c| c.dr6 = 1 << 32),
        ("dr7", |c| c.dr7 = 1 << 32),
        ("xcr0", |c| c.xcr0 = 2),
        ("rip", |c| c.rip = 1 << 47),
        ("cs: rights", |c| c.segments[segment::CS] = Segment::default()),
        ("cs: rights", |c| c.segments[segment::CS].rights = 0xa091),
        ("cs: rights", |c| c.segments[segment::CS].rights |= 0x60),
        ("cs: both L and D", |c| c.segments[segment::CS].rights |= DEFAULT),
        ("ss: rights", |c| c.segments[segment::SS].rights = 0xc09b),
        ("ds", |c| c.segments[segment::DS].base = 1 << 32),
        ("ds", |c| c.segments[segment::DS].rights |= 0x100),
        ("es", |c| c.segments[segment::ES].rights = 0x4093),
        ("gs", |c| c.segments[segment::GS].base = 1 << 47),
        ("tr: not a busy TSS", |c| c.segments[segment::TR].rights = 0x89),
        ("tr: not a busy TSS", |c| c.segments[segment::TR].rights = 0),
        ("ldtr: not an LDT", |c| c.segments[segment::LDTR].rights = 0x8b),
        ("gdtr", |c| c.gdtr.limit = 0x1_0000),
        ("idtr", |c| c.idtr.base = 1 << 63),
        ("lstar", |c| c.syscall[1] = 1 << 47),
        ("cstar", |c| c.syscall[2] = 1 << 47),
        ("sfmask", |c| c.syscall[3] = 1 << 32),
        ("kernel_gs_base", |c| c.kernel_gs_base = 1 << 47),
        ("sysenter_cs", |c| c.sysenter[0] = 1 << 32),
        ("sysenter_esp", |c| c.sysenter[1] = 1 << 47),
        ("sysenter_eip", |c| c.sysenter[2] = 1 << 47),
        ("tsc_aux", |c| c.tsc_aux = 1 << 32),
        ("online", |c| c.online = 2),
        ("reserved", |c| c.reserved = 1),
    ];
    for (name, spoil) in cases {
        let mut c = long_mode();
        spoil(&mut c);
        assert_eq!(check(&c, &LIMITS), Err(*name));
    }
}

#[test]
fn what_a_cpu_kept_can_be_set_again() {
    let kept = Segment { selector: 0x40, rights: 0x89, limit: 0x206f, base: 0 };
    assert_eq!(normal(segment::TR, kept).rights, 0x8b);
    let null = Segment { selector: 0, rights: 0x1060, limit: 0, base: 7 };
    assert_eq!(normal(segment::DS, null), Segment { rights: 0, ..null });
    let flat = Segment { selector: 0x10, rights: 0x209a, limit: 0xffff_ffff, base: 0 };
    assert_eq!(normal(segment::CS, flat).rights, 0xa09b);
}
