// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making and describing domains.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Argument of DomainCreate.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainConfig {
    /// Number wanted, or 0 for the next free one.
    pub domain: u32,
    /// 1 to [`crate::MAX_VCPUS`].
    pub vcpus: u32,
    /// The most pages the domain may own.
    pub max_pages: u64,
    /// Guest-physical address told in CPUID as start info, 0 for none.
    pub start_info: u64,
    /// The most event ports it may have; 0 for the default of 1024.
    pub max_ports: u32,
    /// Scheduling weight, 0 for the default of 256.
    pub weight: u32,
    /// Upper limit of CPU time in percent of one CPU, 0 for none.
    pub cap: u32,
    /// Must be 0.
    pub flags: u32,
    /// What the tools want to find again; the core does not look at it.
    pub uuid: [u8; 16],
    /// Name in UTF-8, zero-padded.
    pub name: [u8; 64],
}
const _: () = assert!(size_of::<DomainConfig>() == 120);

/// Bits of [`DomainInfo::state`].
pub mod state {
    /// At least one pause is held.
    pub const PAUSED: u32 = 1 << 0;
    /// SchedShutdown was made or the core stopped the domain; `reason` says why.
    pub const SHUTDOWN: u32 = 1 << 1;
    /// DomainDestroy has begun.
    pub const DYING: u32 = 1 << 2;
    /// Every vCPU waits for an interrupt.
    pub const BLOCKED: u32 = 1 << 3;
    /// At least one vCPU is on a CPU now.
    pub const RUNNING: u32 = 1 << 4;
    /// The builder never unpaused it yet.
    pub const NEW: u32 = 1 << 5;
}

/// Why a domain stopped.
pub mod reason {
    /// It turned itself off.
    pub const POWEROFF: u32 = 0;
    /// It asks to be started again.
    pub const REBOOT: u32 = 1;
    /// It asks to be saved.
    pub const SUSPEND: u32 = 2;
    /// Its kernel says that it crashed.
    pub const CRASH: u32 = 3;
    /// Its watchdog ran out.
    pub const WATCHDOG: u32 = 4;
    /// A vCPU had a triple fault.
    pub const TRIPLE_FAULT: u32 = 5;
    /// A vCPU touched memory the domain has not got; `code` is the address.
    pub const MEMORY_FAULT: u32 = 6;
    /// The CPU refused the vCPU's state, or an exit the core does not know.
    pub const BAD_STATE: u32 = 7;
}

/// Answer of DomainInfo.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainInfo {
    /// Its number.
    pub domain: u32,
    /// Bits of [`state`].
    pub state: u32,
    /// One of [`reason`] when SHUTDOWN is set.
    pub reason: u32,
    /// vCPUs it was made with.
    pub vcpus: u32,
    /// `code` of its shutdown.
    pub code: u64,
    /// Pages it owns.
    pub pages: u64,
    /// The most it may own.
    pub max_pages: u64,
    /// Pages of it that the control domain has mapped, each mapping counted.
    pub foreign_pages: u64,
    /// Time its vCPUs ran, nanoseconds.
    pub run_ns: u64,
    /// Time they could have run but waited for a CPU, nanoseconds.
    pub wait_ns: u64,
    /// Exits to the core.
    pub exits: u64,
    /// Hypercalls made.
    pub hypercalls: u64,
    /// Events that arrived.
    pub events: u64,
    /// Ports in use.
    pub ports: u32,
    /// Scheduling weight.
    pub weight: u32,
    /// CPU limit in percent, 0 for none.
    pub cap: u32,
    /// The vCPU that stopped it.
    pub fault_vcpu: u32,
    /// The instruction pointer at that moment.
    pub fault_rip: u64,
    /// As given at its making.
    pub uuid: [u8; 16],
    /// As given at its making.
    pub name: [u8; 64],
}
const _: () = assert!(size_of::<DomainInfo>() == 192);

/// Limits of a domain, for DomainLimit.
pub mod limit {
    /// Event ports; at most as many as the domain was made with.
    pub const PORTS: u64 = 0;
    /// Entries of its grant table.
    pub const GRANTS: u64 = 1;
    /// Mappings of others' grants that it may hold.
    pub const MAPPINGS: u64 = 2;
    /// Pages it may own.
    pub const PAGES: u64 = 3;
    /// One more than the last.
    pub const COUNT: u64 = 4;
    /// The value that only asks.
    pub const ASK: u64 = u64::MAX;
}

/// Answer of DomainCounters.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainCounters {
    /// Exits to the core, by cause in the order of [`crate::vcpu::EXIT_CAUSES`].
    pub exits: [u64; 16],
    /// Hypercalls made.
    pub hypercalls: u64,
    /// Events that arrived.
    pub events: u64,
    /// Events sent.
    pub events_sent: u64,
    /// Ports in use.
    pub ports: u64,
    /// Pages it owns.
    pub pages: u64,
    /// Pages set aside for it.
    pub claimed_pages: u64,
    /// Pages of it that the control domain has mapped, each mapping counted.
    pub foreign_pages: u64,
    /// Pages of it that are mapped by grants, each mapping counted.
    pub granted_pages: u64,
    /// Uses of its grants at this moment.
    pub grant_uses: u64,
    /// Mappings of others' grants that it holds.
    pub grant_mappings: u64,
    /// Copies by grants that it made.
    pub grant_copies: u64,
    /// Bytes of these.
    pub grant_bytes: u64,
}
const _: () = assert!(size_of::<DomainCounters>() == 224);
