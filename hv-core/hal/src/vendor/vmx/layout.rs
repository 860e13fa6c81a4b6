// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fields of the VMCS (SDM Vol. 3, appendix B), exit reasons (appendix C), and
//! the bits in them (chapters 25 to 28).

#![allow(missing_docs, dead_code, reason = "names and bits as the manuals have them")]

/// Numbers of VMREAD and VMWRITE.
pub mod field {
    pub const VPID: u32 = 0x0000;
    pub const POSTED_VECTOR: u32 = 0x0002;

    /// ES; CS SS DS FS GS LDTR TR follow, two apart (B.1.2).
    pub const GUEST_SELECTOR: u32 = 0x0800;
    pub const INTERRUPT_STATUS: u32 = 0x0810;
    /// ES; CS SS DS FS GS follow, two apart; TR at [`HOST_TR`] (B.1.3).
    pub const HOST_SELECTOR: u32 = 0x0c00;
    pub const HOST_TR: u32 = 0x0c0c;

    pub const IO_BITMAP_A: u32 = 0x2000;
    pub const IO_BITMAP_B: u32 = 0x2002;
    pub const MSR_BITMAP: u32 = 0x2004;
    pub const EXIT_STORE: u32 = 0x2006;
    pub const EXIT_LOAD: u32 = 0x2008;
    pub const ENTRY_LOAD: u32 = 0x200a;
    pub const PML: u32 = 0x200e;
    pub const TSC_OFFSET: u32 = 0x2010;
    pub const VIRTUAL_APIC: u32 = 0x2012;
    pub const APIC_ACCESS: u32 = 0x2014;
    pub const POSTED_DESCRIPTOR: u32 = 0x2016;
    pub const FUNCTIONS: u32 = 0x2018;
    pub const EPTP: u32 = 0x201a;
    /// The first of four, two apart.
    pub const EOI_EXIT: u32 = 0x201c;
    pub const EPTP_LIST: u32 = 0x2024;
    pub const VMREAD_MAP: u32 = 0x2026;
    pub const VMWRITE_MAP: u32 = 0x2028;
    pub const VE_INFO: u32 = 0x202a;
    pub const XSS_EXITING: u32 = 0x202c;
    pub const ENCLS_EXITING: u32 = 0x202e;
    pub const GUEST_PHYSICAL: u32 = 0x2400;
    pub const LINK: u32 = 0x2800;
    pub const GUEST_DEBUGCTL: u32 = 0x2802;
    pub const GUEST_PAT: u32 = 0x2804;
    pub const GUEST_EFER: u32 = 0x2806;
    /// The first of four, two apart.
    pub const GUEST_PDPTE: u32 = 0x280a;
    pub const HOST_PAT: u32 = 0x2c00;
    pub const HOST_EFER: u32 = 0x2c02;

    pub const PIN: u32 = 0x4000;
    pub const PRIMARY: u32 = 0x4002;
    pub const EXCEPTIONS: u32 = 0x4004;
    pub const FAULT_MASK: u32 = 0x4006;
    pub const FAULT_MATCH: u32 = 0x4008;
    pub const CR3_TARGETS: u32 = 0x400a;
    pub const EXIT: u32 = 0x400c;
    pub const EXIT_STORE_COUNT: u32 = 0x400e;
    pub const EXIT_LOAD_COUNT: u32 = 0x4010;
    pub const ENTRY: u32 = 0x4012;
    pub const ENTRY_LOAD_COUNT: u32 = 0x4014;
    pub const ENTRY_EVENT: u32 = 0x4016;
    pub const ENTRY_ERROR: u32 = 0x4018;
    pub const ENTRY_LENGTH: u32 = 0x401a;
    pub const TPR_THRESHOLD: u32 = 0x401c;
    pub const SECONDARY: u32 = 0x401e;
    pub const PLE_GAP: u32 = 0x4020;
    pub const PLE_WINDOW: u32 = 0x4022;
    pub const INSTRUCTION_ERROR: u32 = 0x4400;
    pub const REASON: u32 = 0x4402;
    pub const EXIT_EVENT: u32 = 0x4404;
    pub const EXIT_ERROR: u32 = 0x4406;
    pub const VECTORING_EVENT: u32 = 0x4408;
    pub const VECTORING_ERROR: u32 = 0x440a;
    pub const EXIT_LENGTH: u32 = 0x440c;
    /// As [`GUEST_SELECTOR`], GDTR and IDTR at the end (B.3.3).
    pub const GUEST_LIMIT: u32 = 0x4800;
    pub const GDTR_LIMIT: u32 = 0x4810;
    pub const IDTR_LIMIT: u32 = 0x4812;
    /// As [`GUEST_SELECTOR`].
    pub const GUEST_RIGHTS: u32 = 0x4814;
    pub const INTERRUPTIBILITY: u32 = 0x4824;
    pub const ACTIVITY: u32 = 0x4826;
    pub const GUEST_SYSENTER_CS: u32 = 0x482a;
    pub const TIMER: u32 = 0x482e;
    pub const HOST_SYSENTER_CS: u32 = 0x4c00;

    pub const CR0_MASK: u32 = 0x6000;
    pub const CR4_MASK: u32 = 0x6002;
    pub const CR0_SHADOW: u32 = 0x6004;
    pub const CR4_SHADOW: u32 = 0x6006;
    pub const QUALIFICATION: u32 = 0x6400;
    pub const GUEST_CR0: u32 = 0x6800;
    pub const GUEST_CR3: u32 = 0x6802;
    pub const GUEST_CR4: u32 = 0x6804;
    /// As [`GUEST_SELECTOR`], GDTR and IDTR at the end (B.4.3).
    pub const GUEST_BASE: u32 = 0x6806;
    pub const GDTR_BASE: u32 = 0x6816;
    pub const IDTR_BASE: u32 = 0x6818;
    pub const GUEST_DR7: u32 = 0x681a;
    pub const GUEST_RSP: u32 = 0x681c;
    pub const GUEST_RIP: u32 = 0x681e;
    pub const GUEST_RFLAGS: u32 = 0x6820;
    pub const PENDING_DEBUG: u32 = 0x6822;
    pub const GUEST_SYSENTER_ESP: u32 = 0x6824;
    pub const GUEST_SYSENTER_EIP: u32 = 0x6826;
    pub const HOST_CR0: u32 = 0x6c00;
    pub const HOST_CR3: u32 = 0x6c02;
    pub const HOST_CR4: u32 = 0x6c04;
    pub const HOST_FS_BASE: u32 = 0x6c06;
    pub const HOST_GS_BASE: u32 = 0x6c08;
    pub const HOST_TR_BASE: u32 = 0x6c0a;
    pub const HOST_GDTR_BASE: u32 = 0x6c0c;
    pub const HOST_IDTR_BASE: u32 = 0x6c0e;
    pub const HOST_SYSENTER_ESP: u32 = 0x6c10;
    pub const HOST_SYSENTER_EIP: u32 = 0x6c12;
    pub const HOST_RSP: u32 = 0x6c14;
    pub const HOST_RIP: u32 = 0x6c16;
}

/// Pin-based controls (table 25-5).
pub mod pin {
    pub const EXTERNAL_INTERRUPT: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 3;
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    pub const TIMER: u32 = 1 << 6;
    pub const POSTED: u32 = 1 << 7;
}

/// Primary processor-based controls (table 25-6).
pub mod primary {
    pub const INTERRUPT_WINDOW: u32 = 1 << 2;
    pub const TSC_OFFSET: u32 = 1 << 3;
    pub const HLT: u32 = 1 << 7;
    pub const MWAIT: u32 = 1 << 10;
    pub const RDPMC: u32 = 1 << 11;
    pub const CR3_LOAD: u32 = 1 << 15;
    pub const CR3_STORE: u32 = 1 << 16;
    pub const CR8_LOAD: u32 = 1 << 19;
    pub const CR8_STORE: u32 = 1 << 20;
    pub const TPR_SHADOW: u32 = 1 << 21;
    pub const NMI_WINDOW: u32 = 1 << 22;
    pub const IO_BITMAPS: u32 = 1 << 25;
    pub const TERTIARY: u32 = 1 << 17;
    pub const TRAP_FLAG: u32 = 1 << 27;
    pub const MSR_BITMAPS: u32 = 1 << 28;
    pub const MONITOR: u32 = 1 << 29;
    pub const SECONDARY: u32 = 1 << 31;
}

/// Secondary processor-based controls (table 25-7).
pub mod secondary {
    pub const APIC_ACCESSES: u32 = 1 << 0;
    pub const EPT: u32 = 1 << 1;
    pub const RDTSCP: u32 = 1 << 3;
    pub const X2APIC: u32 = 1 << 4;
    pub const VPID: u32 = 1 << 5;
    pub const WBINVD: u32 = 1 << 6;
    pub const UNRESTRICTED: u32 = 1 << 7;
    pub const APIC_REGISTERS: u32 = 1 << 8;
    pub const DELIVERY: u32 = 1 << 9;
    pub const PAUSE_LOOP: u32 = 1 << 10;
    pub const INVPCID: u32 = 1 << 12;
    pub const FUNCTIONS: u32 = 1 << 13;
    pub const VMCS_SHADOW: u32 = 1 << 14;
    pub const ENCLS: u32 = 1 << 15;
    pub const PML: u32 = 1 << 17;
    pub const VE: u32 = 1 << 18;
    pub const XSAVES: u32 = 1 << 20;
    pub const EXECUTE_BY_MODE: u32 = 1 << 22;
    pub const SUB_PAGE: u32 = 1 << 23;
    pub const TRACE_PHYSICAL: u32 = 1 << 24;
}

/// VM-exit controls (table 25-13).
pub mod exit {
    pub const SAVE_DEBUG: u32 = 1 << 2;
    pub const HOST_64: u32 = 1 << 9;
    pub const ACKNOWLEDGE: u32 = 1 << 15;
    pub const SAVE_PAT: u32 = 1 << 18;
    pub const LOAD_PAT: u32 = 1 << 19;
    pub const SAVE_EFER: u32 = 1 << 20;
    pub const LOAD_EFER: u32 = 1 << 21;
    pub const SAVE_TIMER: u32 = 1 << 22;
}

/// VM-entry controls (table 25-16).
pub mod entry {
    pub const LOAD_DEBUG: u32 = 1 << 2;
    pub const GUEST_64: u32 = 1 << 9;
    pub const LOAD_PAT: u32 = 1 << 14;
    pub const LOAD_EFER: u32 = 1 << 15;
    pub const TO_SMM: u32 = 1 << 10;
    pub const DEACTIVATE_SMM: u32 = 1 << 11;
}

/// Capability MSRs (appendix A).
pub mod capability {
    pub const FEATURE_CONTROL: u32 = 0x3a;
    pub const BASIC: u32 = 0x480;
    pub const PIN: u32 = 0x481;
    pub const PRIMARY: u32 = 0x482;
    pub const EXIT: u32 = 0x483;
    pub const ENTRY: u32 = 0x484;
    pub const MISC: u32 = 0x485;
    pub const CR0_FIXED0: u32 = 0x486;
    pub const CR0_FIXED1: u32 = 0x487;
    pub const CR4_FIXED0: u32 = 0x488;
    pub const CR4_FIXED1: u32 = 0x489;
    pub const SECONDARY: u32 = 0x48b;
    pub const EPT_VPID: u32 = 0x48c;
    /// TRUE_PINBASED; the other three follow in the order of PIN to ENTRY.
    pub const TRUE_PIN: u32 = 0x48d;
}

/// Interruptibility state (table 25-3).
pub mod shadow {
    pub const STI: u64 = 1 << 0;
    pub const MOV_SS: u64 = 1 << 1;
    pub const SMI: u64 = 1 << 2;
    pub const NMI: u64 = 1 << 3;
    pub const ENCLAVE: u64 = 1 << 4;
}

/// Interruption information (tables 25-17, 25-19).
pub mod event {
    pub const VALID: u32 = 1 << 31;
    pub const ERROR: u32 = 1 << 11;
    pub const TYPE: u32 = 7 << 8;
    pub const INTERRUPT: u32 = 0 << 8;
    pub const NMI: u32 = 2 << 8;
    pub const HARDWARE: u32 = 3 << 8;
    pub const SOFTWARE: u32 = 4 << 8;
    pub const PRIVILEGED: u32 = 5 << 8;
    pub const SOFTWARE_EXCEPTION: u32 = 6 << 8;
    pub const OTHER: u32 = 7 << 8;
}

/// Activity states (25.4.2).
pub mod activity {
    pub const ACTIVE: u64 = 0;
    pub const HLT: u64 = 1;
    pub const SHUTDOWN: u64 = 2;
    pub const WAIT_FOR_SIPI: u64 = 3;
}

/// Rights: unusable (table 25-2).
pub const UNUSABLE: u32 = 1 << 16;

/// Pending debug exceptions (table 25-4): single step.
pub const PENDING_STEP: u64 = 1 << 14;

/// EPTP (table 25-9): write-back tables, a walk of four levels.
pub const EPTP_FORM: u64 = 6 | 3 << 3;

/// Basic exit reasons (appendix C).
pub mod reason {
    pub const EXCEPTION: u32 = 0;
    pub const EXTERNAL_INTERRUPT: u32 = 1;
    pub const TRIPLE_FAULT: u32 = 2;
    pub const INIT: u32 = 3;
    pub const SIPI: u32 = 4;
    pub const INTERRUPT_WINDOW: u32 = 7;
    pub const NMI_WINDOW: u32 = 8;
    pub const TASK_SWITCH: u32 = 9;
    pub const CPUID: u32 = 10;
    pub const GETSEC: u32 = 11;
    pub const HLT: u32 = 12;
    pub const INVD: u32 = 13;
    pub const RDPMC: u32 = 15;
    pub const RSM: u32 = 17;
    pub const VMCALL: u32 = 18;
    /// VMCLEAR; VMX instructions follow up to VMXON.
    pub const VMCLEAR: u32 = 19;
    pub const VMXON: u32 = 27;
    pub const CONTROL_REGISTER: u32 = 28;
    pub const IO: u32 = 30;
    pub const RDMSR: u32 = 31;
    pub const WRMSR: u32 = 32;
    pub const BAD_GUEST: u32 = 33;
    pub const BAD_MSR_LOAD: u32 = 34;
    pub const MWAIT: u32 = 36;
    pub const MONITOR: u32 = 39;
    pub const PAUSE: u32 = 40;
    pub const MACHINE_CHECK: u32 = 41;
    pub const TPR: u32 = 43;
    pub const APIC_ACCESS: u32 = 44;
    pub const END_OF_INTERRUPT: u32 = 45;
    pub const EPT_VIOLATION: u32 = 48;
    pub const EPT_MISCONFIGURED: u32 = 49;
    pub const INVEPT: u32 = 50;
    pub const TIMER: u32 = 52;
    pub const INVVPID: u32 = 53;
    pub const WBINVD: u32 = 54;
    pub const XSETBV: u32 = 55;
    pub const APIC_WRITE: u32 = 56;
    pub const ENCLS: u32 = 60;
    /// Bit 31 of the reason: the entry failed.
    pub const ENTRY_FAILED: u32 = 1 << 31;
}

/// Registers of the virtual APIC, by their x2APIC numbers: each is at 16 times
/// its number in the virtual-APIC page (30.1.1).
pub mod register {
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TPR: u32 = 0x08;
    pub const PPR: u32 = 0x0a;
    pub const EOI: u32 = 0x0b;
    pub const LDR: u32 = 0x0d;
    pub const SPURIOUS: u32 = 0x0f;
    /// In service, trigger mode, requested: eight registers each.
    pub const IN_SERVICE: u32 = 0x10;
    pub const REQUESTED: u32 = 0x20;
    pub const ERROR: u32 = 0x28;
    pub const LVT_CMCI: u32 = 0x2f;
    pub const COMMAND: u32 = 0x30;
    /// Timer; the others follow up to the initial count.
    pub const LVT_TIMER: u32 = 0x32;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

/// Why an entry came back at once (27.8), by basic reason and qualification.
pub fn entry_failure(reason: u32, qualification: u64) -> &'static str {
    match (reason, qualification) {
        (reason::BAD_GUEST, 2) => "VM entry: invalid guest state: page-directory pointers",
        (reason::BAD_GUEST, 3) => "VM entry: invalid guest state: an NMI in a MOV SS shadow",
        (reason::BAD_GUEST, 4) => "VM entry: invalid guest state: VMCS link pointer",
        (reason::BAD_GUEST, _) => "VM entry: invalid guest state",
        (reason::BAD_MSR_LOAD, _) => "VM entry: MSR loading",
        (reason::MACHINE_CHECK, _) => "VM entry: machine check",
        _ => "VM entry failed",
    }
}

/// What VMfailValid means, by the instruction-error field (table 31-1).
pub fn instruction_error(number: u64) -> &'static str {
    match number {
        1 => "VMCALL in root operation",
        2 => "VMCLEAR: invalid address",
        3 => "VMCLEAR of the VMXON region",
        4 => "VMLAUNCH of a VMCS that is not clear",
        5 => "VMRESUME of a VMCS that was not launched",
        6 => "VMRESUME after VMXOFF",
        7 => "VM entry: invalid control fields",
        8 => "VM entry: invalid host state",
        9 => "VMPTRLD: invalid address",
        10 => "VMPTRLD of the VMXON region",
        11 => "VMPTRLD: wrong VMCS revision",
        12 => "VMREAD or VMWRITE of a field that there is not",
        13 => "VMWRITE of a read-only field",
        15 => "VMXON in root operation",
        26 => "VM entry: blocked by MOV SS",
        28 => "INVEPT or INVVPID: invalid operand",
        _ => "an instruction error that the manual does not list",
    }
}
