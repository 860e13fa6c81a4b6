// SPDX-License-Identifier: MIT OR Apache-2.0
//! Documents about the host, its log, and what happened.

use crate::domain;
use hv_abi::PAGE_SIZE;
use hv_abi::host::{HostInfo, vendor};
use serde::{Deserialize, Serialize};

/// The host's memory in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostMemory {
    /// RAM of the machine.
    pub total_bytes: u64,
    /// Kept for guests.
    pub pool_bytes: u64,
    /// Of that, free.
    pub free_bytes: u64,
    /// The core's own.
    pub core_bytes: u64,
}

/// What goes up and down, and must come back when domains come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames of the guests' pool.
    pub frames_pool: u64,
    /// Of these, free.
    pub frames_free: u64,
    /// Frames of the core.
    pub frames_core: u64,
    /// Domains, the control domain included.
    pub domains: u64,
    /// vCPUs of all domains.
    pub vcpus: u64,
    /// Event ports of all domains.
    pub ports: u64,
    /// Foreign pages mapped.
    pub foreign_pages: u64,
}

/// What only goes up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Totals {
    /// Exits to the core.
    pub exits: u64,
    /// Hypercalls.
    pub hypercalls: u64,
}

/// The core's heap in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heap {
    /// In use.
    pub used_bytes: u64,
    /// There is.
    pub size_bytes: u64,
}

/// The host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Version of the core.
    pub core_version: String,
    /// Version of the hypercall interface, `major.minor`.
    pub interface: String,
    /// Version of the daemon.
    pub tools_version: String,
    /// `svm` or `vmx`.
    pub vendor: String,
    /// CPUs.
    pub cpus: u32,
    /// Frequency of the TSC.
    pub tsc_khz: u64,
    /// Time since the core started.
    pub uptime_ns: u64,
    /// Memory.
    pub memory: HostMemory,
    /// The core's heap.
    pub heap: Heap,
    /// Resources in use.
    pub counters: Counters,
    /// Work done.
    pub totals: Totals,
}

impl Host {
    /// From the core's figures and the interface's version.
    pub fn new(info: &HostInfo, interface: u32) -> Self {
        Self {
            core_version: domain::text(&info.version),
            interface: format!("{}.{}", interface >> 16, interface & 0xffff),
            tools_version: env!("CARGO_PKG_VERSION").into(),
            vendor: match info.vendor {
                vendor::SVM => "svm",
                vendor::VMX => "vmx",
                _ => "unknown",
            }
            .into(),
            cpus: info.cpus,
            tsc_khz: info.tsc_khz,
            uptime_ns: info.uptime_ns,
            memory: HostMemory {
                total_bytes: info.total_pages * PAGE_SIZE,
                pool_bytes: info.pool_pages * PAGE_SIZE,
                free_bytes: info.free_pages * PAGE_SIZE,
                core_bytes: info.core_pages * PAGE_SIZE,
            },
            heap: Heap { used_bytes: info.heap_used, size_bytes: info.heap_size },
            counters: Counters {
                frames_pool: info.pool_pages,
                frames_free: info.free_pages,
                frames_core: info.core_pages,
                domains: info.domains,
                vcpus: info.vcpus,
                ports: info.ports,
                foreign_pages: info.foreign_pages,
            },
            totals: Totals { exits: info.exits, hypercalls: info.hypercalls },
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Ascending from 1 while the daemon runs.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The domain it is about.
    pub domain: Option<u16>,
    /// Its name.
    pub name: Option<String>,
    /// `created`, `started`, `stopped`, `destroyed`, `restarted`, `preserved`,
    /// `paused`, `unpaused`, `shutdown-asked`, `adopted`, `leftover`, `failed`,
    /// `console` or `daemon`.
    pub kind: String,
    /// A sentence.
    pub text: String,
}

/// What happened, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
}

/// A piece of the core's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Log {
    /// Text; what is no UTF-8 is replaced.
    pub text: String,
    /// Where the next piece begins.
    pub next: u64,
}

/// Result of an audit of the core's frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Number of discrepancies; each is a line of the core's log.
    pub discrepancies: u64,
}

/// Which part of its state the core shall show: a name of
/// `hv_abi::host::debug_key`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DebugKeyRequest {
    /// domains, queues, ports, grants or memory.
    pub key: String,
}

/// What the core showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DebugKey {
    /// As it was asked.
    pub key: String,
    /// The core's lines, which its log has as well.
    pub text: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Result of `doctor`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Doctor {
    /// Whether all is well.
    pub ok: bool,
    /// The parts.
    pub checks: Vec<Check>,
}
