// SPDX-License-Identifier: MIT OR Apache-2.0
//! The documents of the daemon's API, which are also what `hvctl --json`
//! prints. Each is an object with `"schema": "hv/1"`.
//!
//! Promise of `hv/1`: members are added, never removed, renamed or given
//! another meaning; words such as states may get new siblings. Times are
//! nanoseconds (`_ns`) or seconds since 1970 (`_unix`), sizes bytes.

use crate::domain;
use crate::spec::DomainSpec;
use crate::units::CpuSet;
use hv_abi::PAGE_SIZE;
use hv_abi::domain::DomainInfo;
use hv_abi::host::{HostInfo, vendor};
use hv_abi::vcpu::{EXIT_CAUSES, ExitTrace, VcpuInfo, run_state};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Value of every document's `schema`.
pub const SCHEMA: &str = "hv/1";

/// A document: its body's members next to `schema`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Doc<T> {
    /// [`SCHEMA`].
    pub schema: String,
    /// The rest.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Doc<T> {
    /// Wraps a body.
    pub fn of(body: T) -> Self {
        let schema = SCHEMA.into();
        Self { schema, body }
    }
}

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
    /// `triple-fault`, `memory-fault` or `bad-state`.
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

/// Why something was not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// `invalid`, `not-found`, `exists`, `busy`, `refused`, `cancelled`,
    /// `no-core` or `failed`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// What was being done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<String>,
    /// The domain file's key at fault.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
}

/// The document of a failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// It.
    pub error: Problem,
}

/// Nothing more to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub ok: bool,
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
