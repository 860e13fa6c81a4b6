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
    /// Uses of grants at this moment, in all domains.
    pub grant_uses: u64,
    /// Pages mapped by grants, each mapping counted.
    pub granted_pages: u64,
    /// Pages of the pool that are set aside for domains.
    pub claimed_pages: u64,
    /// Version of the core, zero-padded text.
    pub version: [u8; 32],
}
const _: () = assert!(size_of::<HostInfo>() == 176);

/// Values of HostPower's `action`.
pub mod power {
    /// Stop all CPUs for good.
    pub const HALT: u64 = 0;
    /// Restart the machine.
    pub const RESTART: u64 = 1;
}

/// What DebugKey writes into the log.
pub mod debug_key {
    /// Every domain with its vCPUs.
    pub const DOMAINS: u64 = 0;
    /// Every CPU with its queue.
    pub const QUEUES: u64 = 1;
    /// Every port that is not free.
    pub const PORTS: u64 = 2;
    /// Every grant in use and every mapping.
    pub const GRANTS: u64 = 3;
    /// The pool, and what each domain has of it.
    pub const MEMORY: u64 = 4;
    /// Names, in order.
    pub const NAMES: [&str; 5] = ["domains", "queues", "ports", "grants", "memory"];
}

/// One call of a Batch.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BatchEntry {
    /// The call's number.
    pub number: u64,
    /// Its arguments, in the order of the registers.
    pub args: [u64; 5],
    /// Answer: its value.
    pub value: u64,
    /// Answer: its status.
    pub status: u32,
    /// Must be 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<BatchEntry>() == 64);

/// Calls that one Batch takes at the most.
pub const BATCH_MAX: u64 = 64;
