// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual machine control block (APM Vol. 2, appendix B) and the bits in
//! it (15.5 to 15.20).

#![allow(missing_docs, dead_code, reason = "names and bits as the manuals have them")]

use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A segment register: rights are a descriptor's bits 55:52 and 47:40.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Seg {
    pub selector: u16,
    pub attrib: u16,
    pub limit: u32,
    pub base: u64,
}

/// Control area: table B-1.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    pub intercept_cr: u32,
    pub intercept_dr: u32,
    pub intercept_exceptions: u32,
    pub intercept_misc1: u32,
    pub intercept_misc2: u32,
    pub intercept_misc3: u32,
    pub reserved_018: [u8; 0x24],
    pub pause_threshold: u16,
    pub pause_count: u16,
    pub iopm: u64,
    pub msrpm: u64,
    pub tsc_offset: u64,
    pub asid: u32,
    pub tlb_control: u32,
    pub vintr: u64,
    pub shadow: u64,
    pub exit_code: u64,
    pub exit_info1: u64,
    pub exit_info2: u64,
    pub exit_int_info: u64,
    pub nested: u64,
    pub avic_bar: u64,
    pub ghcb: u64,
    pub event: u64,
    pub nested_cr3: u64,
    pub lbr: u64,
    pub clean: u32,
    pub reserved_0c4: u32,
    pub next_rip: u64,
    pub fetched: u8,
    pub bytes: [u8; 15],
    pub reserved_0e0: [u8; 0x320],
}

/// State save area: table B-2.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Save {
    pub es: Seg,
    pub cs: Seg,
    pub ss: Seg,
    pub ds: Seg,
    pub fs: Seg,
    pub gs: Seg,
    pub gdtr: Seg,
    pub ldtr: Seg,
    pub idtr: Seg,
    pub tr: Seg,
    pub reserved_0a0: [u8; 0x2b],
    pub cpl: u8,
    pub reserved_0cc: u32,
    pub efer: u64,
    pub reserved_0d8: [u8; 0x70],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    pub reserved_180: [u8; 0x58],
    pub rsp: u64,
    pub s_cet: u64,
    pub ssp: u64,
    pub isst: u64,
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    pub reserved_248: [u8; 0x20],
    pub g_pat: u64,
    pub debugctl: u64,
    pub branch_from: u64,
    pub branch_to: u64,
    pub exception_from: u64,
    pub exception_to: u64,
    pub reserved_298: [u8; 0x968],
}

/// The block: one page.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vmcb {
    pub control: Control,
    pub save: Save,
}

const _: () = assert!(size_of::<Vmcb>() == 4096 && size_of::<Control>() == 0x400);
const _: () = assert!(offset_of!(Control, pause_threshold) == 0x3c);
const _: () = assert!(offset_of!(Control, iopm) == 0x40 && offset_of!(Control, asid) == 0x58);
const _: () = assert!(offset_of!(Control, vintr) == 0x60 && offset_of!(Control, exit_code) == 0x70);
const _: () = assert!(offset_of!(Control, nested) == 0x90 && offset_of!(Control, event) == 0xa8);
const _: () = assert!(offset_of!(Control, lbr) == 0xb8 && offset_of!(Control, next_rip) == 0xc8);
const _: () = assert!(offset_of!(Save, tr) == 0x90 && offset_of!(Save, cpl) == 0xcb);
const _: () = assert!(offset_of!(Save, efer) == 0xd0 && offset_of!(Save, cr4) == 0x148);
const _: () = assert!(offset_of!(Save, rip) == 0x178 && offset_of!(Save, rsp) == 0x1d8);
const _: () = assert!(offset_of!(Save, rax) == 0x1f8 && offset_of!(Save, cr2) == 0x240);
const _: () = assert!(offset_of!(Save, g_pat) == 0x268 && offset_of!(Save, exception_to) == 0x290);

/// Intercepts at offset 0x00 (table B-1): writes of CR8.
pub const CR8_WRITE: u32 = 1 << 24;

/// Intercepts at offset 0x0c (table B-1).
pub mod misc1 {
    pub const INTR: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 1;
    pub const INIT: u32 = 1 << 3;
    pub const VINTR: u32 = 1 << 4;
    pub const RDPMC: u32 = 1 << 15;
    pub const CPUID: u32 = 1 << 18;
    pub const RSM: u32 = 1 << 19;
    pub const IRET: u32 = 1 << 20;
    pub const INVD: u32 = 1 << 22;
    pub const PAUSE: u32 = 1 << 23;
    pub const HLT: u32 = 1 << 24;
    pub const INVLPGA: u32 = 1 << 26;
    pub const IOIO: u32 = 1 << 27;
    pub const MSR: u32 = 1 << 28;
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Intercepts at offset 0x10 (table B-1).
pub mod misc2 {
    pub const VMRUN: u32 = 1 << 0;
    pub const VMMCALL: u32 = 1 << 1;
    pub const VMLOAD: u32 = 1 << 2;
    pub const VMSAVE: u32 = 1 << 3;
    pub const STGI: u32 = 1 << 4;
    pub const CLGI: u32 = 1 << 5;
    pub const SKINIT: u32 = 1 << 6;
    pub const WBINVD: u32 = 1 << 9;
    pub const MONITOR: u32 = 1 << 10;
    pub const MWAIT: u32 = 1 << 11;
    pub const MWAIT_ARMED: u32 = 1 << 12;
    pub const XSETBV: u32 = 1 << 13;
    pub const RDPRU: u32 = 1 << 14;
}

/// The virtual interrupt word at offset 0x60 (15.21.1).
pub mod vintr {
    /// V_TPR: bits 3:0 are CR8.
    pub const TPR: u64 = 0xf;
    /// V_IRQ.
    pub const IRQ: u64 = 1 << 8;
    /// V_INTR_PRIO.
    pub const PRIORITY: u64 = 0xf << 16;
    pub const PRIORITY_SHIFT: u32 = 16;
    /// V_INTR_VECTOR.
    pub const VECTOR_SHIFT: u32 = 32;
    /// V_IGN_TPR.
    pub const IGNORE_TPR: u64 = 1 << 20;
    /// V_INTR_MASKING: RFLAGS.IF and CR8 are the guest's own.
    pub const MASKING: u64 = 1 << 24;
}

/// The interrupt shadow at offset 0x68 (15.21.5).
pub const SHADOW: u64 = 1;

/// Nested paging at offset 0x90 (15.25.3).
pub const NESTED_ENABLE: u64 = 1;

/// TLB control at offset 0x5c (15.16.1): flush all of this CPU.
pub const FLUSH_ALL: u32 = 1;

/// Clean bits at offset 0xc0 (15.15.3): what has not changed since the block
/// was last run on this CPU.
pub mod clean {
    pub const INTERCEPTS: u32 = 1 << 0;
    pub const ASID: u32 = 1 << 2;
    pub const TPR: u32 = 1 << 3;
    pub const NESTED: u32 = 1 << 4;
    pub const CONTROL: u32 = 1 << 5;
    pub const DEBUG: u32 = 1 << 6;
    pub const TABLES: u32 = 1 << 7;
    pub const SEGMENTS: u32 = 1 << 8;
    pub const CR2: u32 = 1 << 9;
    /// All that this core uses: the above and the permission maps.
    pub const ALL: u32 = 0x3ff;
}

/// EVENTINJ and EXITINTINFO (15.20, 15.7.2).
pub mod event {
    pub const VALID: u64 = 1 << 31;
    pub const ERROR: u64 = 1 << 11;
    pub const INTERRUPT: u64 = 0 << 8;
    pub const NMI: u64 = 2 << 8;
    pub const EXCEPTION: u64 = 3 << 8;
    pub const SOFTWARE: u64 = 4 << 8;
    pub const TYPE: u64 = 7 << 8;
}

/// Exit codes (appendix C).
pub mod exit {
    pub const CR8_WRITE: u64 = 0x18;
    pub const EXCEPTION: u64 = 0x40;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const INIT: u64 = 0x63;
    pub const VINTR: u64 = 0x64;
    pub const RDPMC: u64 = 0x6f;
    pub const CPUID: u64 = 0x72;
    pub const RSM: u64 = 0x73;
    pub const IRET: u64 = 0x74;
    pub const INVD: u64 = 0x76;
    pub const PAUSE: u64 = 0x77;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const VMSAVE: u64 = 0x83;
    pub const STGI: u64 = 0x84;
    pub const CLGI: u64 = 0x85;
    pub const SKINIT: u64 = 0x86;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT: u64 = 0x8b;
    pub const MWAIT_ARMED: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const NESTED_FAULT: u64 = 0x400;
    /// VMEXIT_INVALID is -1. Some implementations store 32 bits of it.
    pub const INVALID: u32 = u32::MAX;
}
