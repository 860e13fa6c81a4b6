// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fake core knows.

use hv_abi::domain::{DomainConfig, DomainInfo, state as bits};
use hv_abi::host::{HostInfo, vendor};
use hv_abi::vcpu::VcpuContext;
use hv_abi::{DomainId, PAGE_SIZE};
use rustix::fs::MemfdFlags;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A domain's frames: they return to the pool when the domain and the last
/// mapping are gone.
pub(super) struct Memory {
    pub file: OwnedFd,
    /// Populated page ranges, sorted and apart.
    pub ranges: Mutex<Vec<(u64, u64)>>,
    pub mapped: AtomicU64,
    free: Arc<AtomicU64>,
    foreign: Arc<AtomicU64>,
}

impl Memory {
    pub fn new(state: &State) -> rustix::io::Result<Self> {
        Ok(Self {
            file: rustix::fs::memfd_create("domain", MemfdFlags::CLOEXEC)?,
            ranges: Mutex::default(),
            mapped: AtomicU64::new(0),
            free: state.free_pages.clone(),
            foreign: state.foreign.clone(),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<(u64, u64)>) -> R) -> R {
        f(&mut self.ranges.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn pages(&self) -> u64 {
        self.with(|r| r.iter().map(|(start, end)| end - start).sum())
    }

    pub fn holds(&self, page: u64, pages: u64) -> bool {
        self.with(|r| r.iter().any(|(start, end)| *start <= page && page + pages <= *end))
    }

    /// Whether the pages were free, and now are there.
    pub fn populate(&self, page: u64, pages: u64) -> bool {
        let end = page + pages;
        let added = self.with(|r| {
            if r.iter().any(|(s, e)| page < *e && *s < end) {
                return false;
            }
            match r.iter_mut().find(|(_, e)| *e == page) {
                Some(range) => range.1 = end,
                None => r.push((page, end)),
            }
            true
        });
        if added {
            let size = self.with(|r| r.iter().map(|(_, e)| *e).max().unwrap_or(0)) * PAGE_SIZE;
            let _ = rustix::fs::ftruncate(&self.file, size);
        }
        added
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.free.fetch_add(self.pages(), Ordering::Relaxed);
    }
}

/// Lives as long as a mapping.
pub(super) struct MapToken {
    pub memory: Arc<Memory>,
    pub pages: u64,
}

impl Drop for MapToken {
    fn drop(&mut self) {
        self.memory.mapped.fetch_sub(self.pages, Ordering::Relaxed);
        self.memory.foreign.fetch_sub(self.pages, Ordering::Relaxed);
    }
}

#[derive(Clone, Default)]
pub(super) struct Vcpu {
    pub context: Option<VcpuContext>,
    pub affinity: u64,
}

pub(super) struct Domain {
    pub config: DomainConfig,
    pub pauses: u32,
    pub new: bool,
    pub shutdown: Option<(u32, u64)>,
    /// Calls of DomainDestroy so far.
    pub dying: u32,
    pub vcpus: Vec<Vcpu>,
    pub memory: Arc<Memory>,
    pub ports: BTreeMap<u32, Port>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Unbound { remote: DomainId },
    Joined { remote: DomainId, port: u32 },
    Virq(u64),
}

pub(super) struct Port {
    pub peer: Peer,
    pub eventfd: Option<OwnedFd>,
}

pub(super) struct State {
    pub pool_pages: u64,
    pub free_pages: Arc<AtomicU64>,
    pub foreign: Arc<AtomicU64>,
    pub domains: BTreeMap<DomainId, Domain>,
    pub operations: u64,
    pub fail_at: Option<u64>,
    /// From this operation on nothing is reached any more.
    pub dies_at: Option<u64>,
    pub dead: bool,
    pub on_death: Option<Box<dyn FnOnce() + Send>>,
    pub log: Vec<u8>,
    pub guests_obey: bool,
}

impl State {
    pub fn new(pool_pages: u64) -> Self {
        let mut state = Self {
            pool_pages,
            free_pages: Arc::new(AtomicU64::new(pool_pages)),
            foreign: Arc::default(),
            domains: BTreeMap::new(),
            operations: 0,
            fail_at: None,
            dies_at: None,
            dead: false,
            on_death: None,
            log: b"[    0.000001] INFO core: a fake core, in memory\n".to_vec(),
            guests_obey: false,
        };
        let mut config = DomainConfig {
            domain: 0,
            vcpus: 1,
            max_pages: 0,
            start_info: 0,
            max_ports: 1024,
            weight: 256,
            cap: 0,
            flags: 0,
            uuid: [0; 16],
            name: [0; 64],
        };
        config.name[..7].copy_from_slice(b"control");
        if let Ok(memory) = Memory::new(&state) {
            state.domains.insert(
                0,
                Domain {
                    config,
                    pauses: 0,
                    new: false,
                    shutdown: None,
                    dying: 0,
                    vcpus: vec![Vcpu::default()],
                    memory: Arc::new(memory),
                    ports: BTreeMap::new(),
                },
            );
        }
        state
    }

    /// Counts an operation; whether it is the one that shall fail.
    pub fn injected(&mut self) -> bool {
        let this = self.operations;
        self.operations += 1;
        if self.dies_at.is_some_and(|at| this >= at) {
            self.dead = true;
            if let Some(tell) = self.on_death.take() {
                tell();
            }
        }
        self.dead || self.fail_at == Some(this)
    }

    pub fn host_info(&self) -> HostInfo {
        let mut version = [0; 32];
        version[..4].copy_from_slice(b"fake");
        HostInfo {
            cpus: 2,
            vendor: vendor::SVM,
            tsc_khz: 2_000_000,
            uptime_ns: 61_000_000_000,
            total_pages: self.pool_pages * 2,
            pool_pages: self.pool_pages,
            free_pages: self.free_pages.load(Ordering::Relaxed),
            core_pages: 4096,
            heap_used: 65536,
            heap_size: 1 << 20,
            domains: self.domains.len() as u64,
            vcpus: self.domains.values().map(|d| d.vcpus.len() as u64).sum(),
            ports: self.domains.values().map(|d| d.ports.len() as u64).sum(),
            foreign_pages: self.foreign.load(Ordering::Relaxed),
            hypercalls: self.operations,
            version,
            ..HostInfo::default()
        }
    }

    pub fn domain_info(&self, id: DomainId, d: &Domain) -> DomainInfo {
        let mut state = 0;
        let mut set = |on: bool, bit| state |= if on { bit } else { 0 };
        set(d.pauses > 0, bits::PAUSED);
        set(d.new, bits::NEW);
        set(d.shutdown.is_some(), bits::SHUTDOWN);
        set(d.dying > 0, bits::DYING);
        set(d.pauses == 0 && d.shutdown.is_none() && id != 0, bits::BLOCKED);
        set(id == 0, bits::RUNNING);
        let (reason, code) = d.shutdown.unwrap_or_default();
        DomainInfo {
            domain: id.into(),
            state,
            reason,
            vcpus: d.vcpus.len() as u32,
            code,
            pages: d.memory.pages(),
            max_pages: d.config.max_pages,
            foreign_pages: d.memory.mapped.load(Ordering::Relaxed),
            run_ns: 1_500_000_000,
            ports: d.ports.len() as u32,
            weight: d.config.weight,
            cap: d.config.cap,
            uuid: d.config.uuid,
            name: d.config.name,
            ..zerocopy::FromZeros::new_zeroed()
        }
    }
}
