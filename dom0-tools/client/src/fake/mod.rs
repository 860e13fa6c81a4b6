// SPDX-License-Identifier: MIT OR Apache-2.0
//! A core in memory: domains, frames, ports and mappings are counted as the
//! real one counts them, foreign memory is a memory file behind the very same
//! [`ForeignMap`], and events arrive at real eventfds. No guest runs: tests
//! play its part through [`FakeCore::guest_console`] and
//! [`FakeCore::guest_stop`].
//!
//! [`FakeCore::fail_at`] makes the n-th operation from now fail, so that a test
//! can walk a failure through every step of what it tests.

mod hypercalls;
mod kernel;
mod ports;
mod state;

use crate::{Core, Error, Events, ForeignMap, Reply};
use hv_abi::event::virq;
use hv_abi::host::HostInfo;
use hv_abi::{DomainId, Hypercall, PAGE_SIZE, Status};
use hv_ring::console::ConsoleEnd;
pub use kernel::bzimage;
use ports::FakeEvents;
use rustix::io::Errno;
use state::State;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters that must be back at their baseline when all is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Free pages of the pool.
    pub free_pages: u64,
    /// Domains, the control domain included.
    pub domains: u64,
    /// vCPUs of all domains.
    pub vcpus: u64,
    /// Ports of all domains.
    pub ports: u64,
    /// Foreign pages mapped.
    pub foreign_pages: u64,
}

impl From<&HostInfo> for Counters {
    fn from(info: &HostInfo) -> Self {
        Self {
            free_pages: info.free_pages,
            domains: info.domains,
            vcpus: info.vcpus,
            ports: info.ports,
            foreign_pages: info.foreign_pages,
        }
    }
}

/// See the module.
#[derive(Clone)]
pub struct FakeCore(Arc<Mutex<State>>);

impl FakeCore {
    /// A host whose pool has this many bytes.
    pub fn new(pool_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(pool_bytes / PAGE_SIZE))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the `n`-th operation from now (0: the next) fail, once.
    pub fn fail_at(&self, n: u64) {
        let mut state = self.state();
        state.fail_at = Some(state.operations + n);
    }

    /// Whether the failure asked for has happened.
    pub fn has_failed(&self) -> bool {
        let state = self.state();
        state.fail_at.is_none_or(|at| state.operations > at)
    }

    /// Cuts the tools off from the `n`-th operation on, as if they were killed
    /// there, until [`FakeCore::revive`]; `on_death` is called at that moment.
    /// Dropping mappings and ports works on, as the kernel sees to that.
    pub fn die_at(&self, n: u64, on_death: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.dies_at = Some(state.operations + n);
        state.on_death = Some(Box::new(on_death));
    }

    /// Whether the tools are cut off.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Ends what [`FakeCore::die_at`] began.
    pub fn revive(&self) {
        let mut state = self.state();
        (state.dies_at, state.dead, state.on_death) = (None, false, None);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        Counters::from(&self.state().host_info())
    }

    /// Has every guest obey DomainShutdown at once.
    pub fn guests_obey(&self, obey: bool) {
        self.state().guests_obey = obey;
    }

    /// What a guest does when it stops: `hv_abi::domain::reason`.
    pub fn guest_stop(&self, domain: DomainId, reason: u32, code: u64) {
        let mut state = self.state();
        if let Some(d) = state.domains.get_mut(&domain) {
            d.shutdown = Some((reason, code));
        }
        state.raise_virq(virq::DOMAIN_STATE);
    }

    /// Has a guest send one of its ports.
    pub fn guest_send(&self, domain: DomainId, port: u32) {
        self.state().send(domain, port);
    }

    /// Has an eventfd signalled when a guest's port is raised.
    pub fn guest_listen(&self, domain: DomainId, port: u32, eventfd: std::os::fd::OwnedFd) {
        if let Some(port) =
            self.state().domains.get_mut(&domain).and_then(|d| d.ports.get_mut(&port))
        {
            port.eventfd = Some(eventfd);
        }
    }

    /// A guest's memory as the guest has it: writable, and not counted.
    pub fn guest_map(&self, domain: DomainId, gpa: u64, len: usize) -> Option<ForeignMap> {
        let memory = self.state().domains.get(&domain)?.memory.clone();
        ForeignMap::of_file(memory.file.as_fd(), gpa, len, None).ok()
    }

    /// Appends text to the core's log.
    pub fn log(&self, text: &str) {
        let mut state = self.state();
        state.log.extend_from_slice(text.as_bytes());
        state.raise_virq(virq::LOG);
    }

    /// The context that a vCPU was given.
    pub fn context(&self, domain: DomainId, vcpu: usize) -> Option<hv_abi::vcpu::VcpuContext> {
        self.state().domains.get(&domain)?.vcpus.get(vcpu)?.context
    }

    /// Reads a guest's memory as the guest would.
    pub fn guest_read(&self, domain: DomainId, gpa: u64, len: usize) -> Option<Vec<u8>> {
        let memory = self.state().domains.get(&domain)?.memory.clone();
        let mut bytes = vec![0; len];
        rustix::io::pread(memory.file.as_fd(), &mut bytes, gpa).ok()?;
        Some(bytes)
    }

    /// The guest's side of a console ring at `gpa` with the guest's port.
    pub fn guest_console(&self, domain: DomainId, gpa: u64, port: u32) -> Option<GuestConsole> {
        let memory = self.state().domains.get(&domain)?.memory.clone();
        let page = ForeignMap::of_file(memory.file.as_fd(), gpa, PAGE_SIZE as usize, None).ok()?;
        Some(GuestConsole { core: self.clone(), domain, port, end: ConsoleEnd::guest(&page), page })
    }
}

impl Core for FakeCore {
    fn call(&self, call: Hypercall, buffer: Option<&mut [u8]>) -> Result<Reply, Error> {
        let mut state = self.state();
        if state.injected() {
            if state.dead {
                return Err(Error::device("reach the fake core", Errno::IO));
            }
            return Ok(Reply { status: Status::NoMemory, value: 0 });
        }
        let result = state.hypercall(call, buffer.unwrap_or_default());
        let (status, value) = match result {
            Ok(value) => (Status::Ok, value),
            Err((status, value)) => (status, value),
        };
        Ok(Reply { status, value })
    }

    fn map(&self, domain: DomainId, gpa: u64, len: usize) -> Result<ForeignMap, Error> {
        let action = || format!("map {len} bytes at {gpa:#x} of domain {domain}");
        let pages = (len as u64).div_ceil(PAGE_SIZE);
        let memory = {
            let mut state = self.state();
            if state.injected() {
                return Err(Error::device(action(), Errno::NOMEM));
            }
            let found = state.domains.get(&domain).filter(|d| {
                gpa.is_multiple_of(PAGE_SIZE) && d.memory.holds(gpa / PAGE_SIZE, pages)
            });
            let memory = found
                .map(|d| d.memory.clone())
                .ok_or_else(|| Error::device(action(), Errno::FAULT))?;
            memory.mapped.fetch_add(pages, Ordering::Relaxed);
            state.foreign.fetch_add(pages, Ordering::Relaxed);
            memory
        };
        let token = state::MapToken { memory: memory.clone(), pages };
        ForeignMap::of_file(memory.file.as_fd(), gpa, len, Some(Box::new(token)))
            .map_err(|e| Error::device(action(), e))
    }

    fn events(&self, only: Option<DomainId>) -> Result<Arc<dyn Events>, Error> {
        if self.state().injected() {
            return Err(Error::device("open the fake event device", Errno::MFILE));
        }
        Ok(Arc::new(FakeEvents::new(self.clone(), only)))
    }
}

/// What a guest's console driver would do.
pub struct GuestConsole {
    core: FakeCore,
    domain: DomainId,
    port: u32,
    page: ForeignMap,
    end: ConsoleEnd,
}

impl GuestConsole {
    /// Writes what fits and sends the event; says how much.
    pub fn write(&mut self, text: &[u8]) -> usize {
        let n = self.end.send(&self.page, text).unwrap_or(0);
        self.core.state().send(self.domain, self.port);
        n
    }

    /// Reads what is there and sends the event.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let n = self.end.receive(&self.page, &mut bytes).unwrap_or(0);
        bytes.truncate(n);
        self.core.state().send(self.domain, self.port);
        bytes
    }

    /// The shared page, for a guest that means no good.
    pub fn page(&self) -> &ForeignMap {
        &self.page
    }
}
