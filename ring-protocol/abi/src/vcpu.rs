// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers and figures of a vCPU.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A segment register with its hidden part.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Segment {
    /// Visible selector.
    pub selector: u16,
    /// Access rights as in a descriptor, type in bits 3:0, S 4, DPL 6:5, P 7,
    /// AVL 12, L 13, D/B 14, G 15. Without P it is unusable (SDM Vol. 3,
    /// 25.4.1).
    pub rights: u16,
    /// Limit in bytes.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}

/// A descriptor table register.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Table {
    /// Base address.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u64,
}

/// Positions in [`VcpuContext::segments`].
pub mod segment {
    #![allow(missing_docs)]
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
    pub const LDTR: usize = 6;
    pub const TR: usize = 7;
}

/// Every register of a vCPU that its builder, a debugger or a migration sets.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VcpuContext {
    /// rax rcx rdx rbx rsp rbp rsi rdi r8…r15: the order of their encoding.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags; bit 1 is always set.
    pub rflags: u64,
    /// Control registers.
    pub cr0: u64,
    /// Page fault address.
    pub cr2: u64,
    /// Page table root.
    pub cr3: u64,
    /// Control registers.
    pub cr4: u64,
    /// Extended features (SVME is hidden).
    pub efer: u64,
    /// Page attribute table.
    pub pat: u64,
    /// Debug status.
    pub dr6: u64,
    /// Debug control.
    pub dr7: u64,
    /// In the order of [`segment`].
    pub segments: [Segment; 8],
    /// GDTR.
    pub gdtr: Table,
    /// IDTR.
    pub idtr: Table,
    /// System call registers: STAR LSTAR CSTAR SFMASK.
    pub syscall: [u64; 4],
    /// KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// SYSENTER_CS, _ESP, _EIP.
    pub sysenter: [u64; 3],
    /// TSC_AUX.
    pub tsc_aux: u64,
    /// XCR0; 0 means the reset value 1.
    pub xcr0: u64,
    /// 1: runs; 0: waits for INIT and SIPI.
    pub online: u32,
    /// Must be 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<VcpuContext>() == 456);

/// States of a vCPU in [`VcpuInfo::state`].
pub mod run_state {
    /// Waits for INIT and SIPI.
    pub const OFFLINE: u32 = 0;
    /// On a CPU now.
    pub const RUNNING: u32 = 1;
    /// Could run; waits for a CPU.
    pub const READY: u32 = 2;
    /// Waits for an interrupt.
    pub const BLOCKED: u32 = 3;
    /// Its domain is paused or stopped.
    pub const STOPPED: u32 = 4;
}

/// Answer of VcpuInfo.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuInfo {
    /// One of [`run_state`].
    pub state: u32,
    /// CPU it runs on or ran on last.
    pub cpu: u32,
    /// CPUs it may run on.
    pub affinity: u64,
    /// Time on a CPU, nanoseconds.
    pub run_ns: u64,
    /// Time ready but not running, nanoseconds.
    pub wait_ns: u64,
    /// Exits to the core, by cause in the order of [`EXIT_CAUSES`].
    pub exits: [u64; 16],
}
const _: () = assert!(size_of::<VcpuInfo>() == 160);

/// Answer of VcpuRunState.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuRunState {
    /// One of [`run_state`].
    pub state: u32,
    /// CPU it runs on or ran on last; told to the control domain only.
    pub cpu: u32,
    /// CPUs it may run on; told to the control domain only.
    pub affinity: u64,
    /// CPUs it should run on; told to the control domain only.
    pub affinity_soft: u64,
    /// Time on a CPU, nanoseconds.
    pub run_ns: u64,
    /// Time it could have run but waited for a CPU, nanoseconds.
    pub wait_ns: u64,
}
const _: () = assert!(size_of::<VcpuRunState>() == 40);

/// Names of the exit counters of [`VcpuInfo::exits`].
pub const EXIT_CAUSES: [&str; 16] = [
    "interrupt",
    "hypercall",
    "cpuid",
    "msr-read",
    "msr-write",
    "halt",
    "port-io",
    "memory",
    "window",
    "exception",
    "pause",
    "xsetbv",
    "nmi",
    "shutdown",
    "refused",
    "other",
];

/// Entries an [`ExitTrace`] keeps.
pub const TRACE_LEN: usize = 64;

/// One exit.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExitRecord {
    /// TSC of the host when it was handled.
    pub tsc: u64,
    /// Guest's instruction pointer.
    pub rip: u64,
    /// Position in [`EXIT_CAUSES`].
    pub cause: u32,
    /// CPU it happened on.
    pub cpu: u32,
    /// What the cause makes of it: hypercall number, MSR, port, address …
    pub detail: u64,
}
const _: () = assert!(size_of::<ExitRecord>() == 32);

/// Answer of TraceRead.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExitTrace {
    /// Exits ever recorded; the records are the last of them, oldest first.
    pub total: u64,
    /// Valid entries of `records`.
    pub count: u64,
    /// The entries.
    pub records: [ExitRecord; TRACE_LEN],
}
const _: () = assert!(size_of::<ExitTrace>() == 2064);
