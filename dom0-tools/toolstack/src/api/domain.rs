// SPDX-License-Identifier: MIT OR Apache-2.0
//! Documents about domains and their vCPUs, and requests to change them.

use super::{Disk, Network};
use crate::domain;
use crate::spec::DomainSpec;
use crate::units::CpuSet;
use hv_abi::PAGE_SIZE;
use hv_abi::domain::DomainInfo;
use hv_abi::vcpu::{EXIT_CAUSES, ExitTrace, VcpuInfo, run_state};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Domain {
    /// Number.
    pub id: u16,
    /// Name.
    pub name: String,
    /// Identifier that no other domain has or had.
    pub uuid: Uuid,
    /// `running`, `blocked` (idle), `paused`, `stopped`, `suspended`,
    /// `crashed`, `building` or `dying`.
    pub state: String,
    /// Why it stopped: `poweroff`, `reboot`, `suspend`, `crash`, `watchdog`,
    /// `triple-fault`, `memory-fault` or `bad-state`; or `io-error`: it is paused
    /// because a disk of the host is full or broken.
    pub reason: Option<String>,
    /// The same as a sentence, with what is known.
    pub reason_text: Option<String>,
    /// Whether the daemon has its configuration and keeps its console.
    pub managed: bool,
    /// When it was made.
    pub created_unix: Option<u64>,
    /// When its present life began: when it was made or last restarted.
    pub started_unix: Option<u64>,
    /// How often it was started again.
    pub restarts: u32,
    /// Memory it owns.
    pub memory_bytes: u64,
    /// The most it may own.
    pub max_memory_bytes: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Time on a CPU.
    pub cpu_ns: u64,
    /// Time ready but not on a CPU.
    pub wait_ns: u64,
    /// Exits to the core.
    pub exits: u64,
    /// Hypercalls.
    pub hypercalls: u64,
    /// Events that arrived.
    pub events: u64,
    /// Event ports in use.
    pub ports: u32,
    /// Pages of it that the control domain has mapped.
    pub foreign_pages: u64,
    /// Share of CPU time.
    pub weight: u32,
    /// Limit of CPU time in percent of one CPU, 0 for none.
    pub cap: u32,
    /// What it was made from; only in the document of one domain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec: Option<DomainSpec>,
    /// Its disks with their counters; only in the document of one domain.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub disks: Vec<Disk>,
    /// Its network cards with their counters; only in the document of one domain.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub networks: Vec<Network>,
}

impl From<&DomainInfo> for Domain {
    fn from(info: &DomainInfo) -> Self {
        let reason = domain::reason_word(info);
        Self {
            id: info.domain as u16,
            name: domain::name(info),
            uuid: Uuid::from_bytes(info.uuid),
            state: domain::state_word(info).into(),
            reason: reason.map(Into::into),
            reason_text: reason.map(|_| domain::reason_text(info)),
            managed: false,
            created_unix: None,
            started_unix: None,
            restarts: 0,
            memory_bytes: info.pages * PAGE_SIZE,
            max_memory_bytes: info.max_pages.saturating_mul(PAGE_SIZE),
            vcpus: info.vcpus,
            cpu_ns: info.run_ns,
            wait_ns: info.wait_ns,
            exits: info.exits,
            hypercalls: info.hypercalls,
            events: info.events,
            ports: info.ports,
            foreign_pages: info.foreign_pages,
            weight: info.weight,
            cap: info.cap,
            spec: None,
            disks: Vec::new(),
            networks: Vec::new(),
        }
    }
}

/// All domains, the control domain first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Domains {
    /// By number.
    pub domains: Vec<Domain>,
}

/// One domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneDomain {
    /// It.
    pub domain: Domain,
}

/// A virtual CPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vcpu {
    /// Its domain's number.
    pub domain: u16,
    /// Its domain's name.
    pub name: String,
    /// Its number.
    pub vcpu: u32,
    /// `offline`, `running`, `ready`, `blocked` or `stopped`.
    pub state: String,
    /// CPU it runs on or ran on last.
    pub cpu: u32,
    /// CPUs it may run on.
    pub affinity: CpuSet,
    /// Time on a CPU.
    pub cpu_ns: u64,
    /// Time ready but not on a CPU.
    pub wait_ns: u64,
    /// Exits to the core by cause; causes without one are left out.
    pub exits: BTreeMap<String, u64>,
}

impl Vcpu {
    /// From the core's figures.
    pub fn new(domain: u16, name: &str, vcpu: u32, info: &VcpuInfo) -> Self {
        let exits = EXIT_CAUSES.iter().zip(info.exits);
        Self {
            domain,
            name: name.into(),
            vcpu,
            state: match info.state {
                run_state::OFFLINE => "offline",
                run_state::RUNNING => "running",
                run_state::READY => "ready",
                run_state::BLOCKED => "blocked",
                run_state::STOPPED => "stopped",
                _ => "unknown",
            }
            .into(),
            cpu: info.cpu,
            affinity: CpuSet(info.affinity),
            cpu_ns: info.run_ns,
            wait_ns: info.wait_ns,
            exits: exits
                .filter(|(_, count)| *count > 0)
                .map(|(cause, count)| (cause.to_string(), count))
                .collect(),
        }
    }
}

/// Virtual CPUs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vcpus {
    /// By domain and number.
    pub vcpus: Vec<Vcpu>,
}

/// One exit of a vCPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exit {
    /// The host's TSC.
    pub tsc: u64,
    /// The CPU.
    pub cpu: u32,
    /// Why.
    pub cause: String,
    /// The guest's instruction pointer.
    pub rip: u64,
    /// What the cause makes of it: hypercall number, MSR, port, address …
    pub detail: u64,
}

/// The latest exits of a vCPU, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// Its domain's number.
    pub domain: u16,
    /// Its number.
    pub vcpu: u32,
    /// Exits ever recorded.
    pub total: u64,
    /// The latest.
    pub exits: Vec<Exit>,
}

impl Trace {
    /// From the core's record.
    pub fn new(domain: u16, vcpu: u32, trace: &ExitTrace) -> Self {
        let count = (trace.count as usize).min(trace.records.len());
        let exit = |record: &hv_abi::vcpu::ExitRecord| Exit {
            tsc: record.tsc,
            cpu: record.cpu,
            cause: EXIT_CAUSES
                .get(record.cause as usize)
                .map_or_else(|| format!("cause-{}", record.cause), |c| c.to_string()),
            rip: record.rip,
            detail: record.detail,
        };
        Self {
            domain,
            vcpu,
            total: trace.total,
            exits: trace.records[..count].iter().map(exit).collect(),
        }
    }
}

/// Body of a request to create a domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateRequest {
    /// What to make.
    pub spec: DomainSpec,
    /// Whether to leave it paused.
    #[serde(default)]
    pub paused: bool,
}

/// Body of a request to shut a domain down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// Whether it shall start again.
    #[serde(default)]
    pub reboot: bool,
}

/// Body of a request to change a domain's share of the CPUs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SchedRequest {
    /// New weight; as it is when left out.
    pub weight: Option<u32>,
    /// New cap; as it is when left out.
    pub cap: Option<u32>,
}

/// Body of a request to change where a vCPU may run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AffinityRequest {
    /// `0-3,6`, or `all`.
    pub cpus: CpuSet,
}
