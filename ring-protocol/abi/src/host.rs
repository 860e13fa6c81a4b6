// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures of the host.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Values of [`HostInfo::vendor`].
pub mod vendor {
    /// AMD-V.
    pub const SVM: u32 = 1;
    /// VT-x.
    pub const VMX: u32 = 2;
}

/// Answer of HostInfo.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HostInfo {
    /// CPUs the core runs on.
    pub cpus: u32,
    /// One of [`vendor`].
    pub vendor: u32,
    /// TSC frequency, kHz.
    pub tsc_khz: u64,
    /// Nanoseconds since the core started.
    pub uptime_ns: u64,
    /// Pages of RAM in the machine.
    pub total_pages: u64,
    /// Pages for guests, free or not.
    pub pool_pages: u64,
    /// Pages for guests that are free.
    pub free_pages: u64,
    /// Pages of the core itself.
    pub core_pages: u64,
    /// Bytes of the core's heap in use.
    pub heap_used: u64,
    /// Bytes of the core's heap.
    pub heap_size: u64,
    /// Domains there are, the control domain included.
    pub domains: u64,
    /// vCPUs of all domains.
    pub vcpus: u64,
    /// Event ports in use in all domains.
    pub ports: u64,
    /// Foreign pages mapped, each mapping counted.
    pub foreign_pages: u64,
    /// Exits since the start.
    pub exits: u64,
    /// Hypercalls since the start.
    pub hypercalls: u64,
    /// Version of the core, zero-padded text.
    pub version: [u8; 32],
}
const _: () = assert!(size_of::<HostInfo>() == 152);

/// Values of HostPower's `action`.
pub mod power {
    /// Stop all CPUs for good.
    pub const HALT: u64 = 0;
    /// Restart the machine.
    pub const RESTART: u64 = 1;
}
