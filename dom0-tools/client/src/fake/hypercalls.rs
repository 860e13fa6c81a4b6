// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fake core's hypercalls: the checks and counts of the real ones.

use super::state::{Domain, Memory, Peer, State, Vcpu};
use hv_abi::domain::{DomainConfig, DomainCounters};
use hv_abi::event::{EventStatus, kind, virq};
use hv_abi::host::debug_key;
use hv_abi::memory::{MemoryRange, PAGES_PER_CALL};
use hv_abi::vcpu::{ExitTrace, VcpuContext, VcpuInfo, run_state};
use hv_abi::{ABI_VERSION, DOM_CONTROL, DomainId, Hypercall, MAX_VCPUS, PAGE_SIZE, Status};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// A value, or a status other than Ok with its value.
type Answer = Result<u64, (Status, u64)>;

const fn refuse(status: Status) -> (Status, u64) {
    (status, 0)
}

fn write<T: IntoBytes + Immutable>(buffer: &mut [u8], object: &T) -> Answer {
    let bytes = object.as_bytes();
    buffer.get_mut(..bytes.len()).ok_or(refuse(Status::Fault))?.copy_from_slice(bytes);
    Ok(0)
}

fn read<T: FromBytes>(buffer: &[u8]) -> Result<T, (Status, u64)> {
    T::read_from_prefix(buffer).map(|(object, _)| object).map_err(|_| refuse(Status::Fault))
}

impl State {
    fn of(&mut self, domain: u64) -> Result<&mut Domain, (Status, u64)> {
        let id = DomainId::try_from(domain).map_err(|_| refuse(Status::NotFound))?;
        self.domains.get_mut(&id).ok_or(refuse(Status::NotFound))
    }

    fn alive(&mut self, domain: u64) -> Result<&mut Domain, (Status, u64)> {
        let d = self.of(domain)?;
        if d.dying > 0 {
            return Err(refuse(Status::Dying));
        }
        Ok(d)
    }

    fn vcpu(&mut self, domain: u64, vcpu: u64) -> Result<&mut Vcpu, (Status, u64)> {
        let vcpus = &mut self.alive(domain)?.vcpus;
        vcpus.get_mut(vcpu as usize).ok_or(refuse(Status::NotFound))
    }

    pub fn hypercall(&mut self, call: Hypercall, buffer: &mut [u8]) -> Answer {
        match call {
            Hypercall::Version {} => Ok(ABI_VERSION.into()),
            Hypercall::EventAlloc { owner, remote } => {
                self.alive(owner)?;
                let remote = remote as DomainId;
                self.new_port(owner as DomainId, Peer::Unbound { remote })
                    .map(u64::from)
                    .ok_or(refuse(Status::Limit))
            }
            Hypercall::EventStatus { owner, port, .. } => self.event_status(owner, port, buffer),
            Hypercall::VcpuSetContext { domain, vcpu, .. } => {
                let context: VcpuContext = read(buffer)?;
                if self.of(domain)?.pauses == 0 {
                    return Err(refuse(Status::State));
                }
                self.vcpu(domain, vcpu)?.context = Some(context);
                Ok(0)
            }
            Hypercall::VcpuGetContext { domain, vcpu, .. } => {
                let context = self.vcpu(domain, vcpu)?.context.unwrap_or_default();
                write(buffer, &context)
            }
            Hypercall::VcpuInfo { domain, vcpu, .. } => {
                let v = self.vcpu(domain, vcpu)?;
                let online = v.context.is_some_and(|c| c.online == 1) || domain == 0;
                let state = if online { run_state::BLOCKED } else { run_state::OFFLINE };
                let info = VcpuInfo {
                    state,
                    affinity: if v.affinity == 0 { 0b11 } else { v.affinity },
                    run_ns: 1_500_000_000,
                    ..VcpuInfo::default()
                };
                write(buffer, &info)
            }
            Hypercall::VcpuAffinity { domain, vcpu, cpus } => {
                if domain == u64::from(DOM_CONTROL) {
                    return Err(refuse(Status::Denied));
                }
                if cpus & 0b11 == 0 {
                    return Err(refuse(Status::Invalid));
                }
                self.vcpu(domain, vcpu)?.affinity = cpus;
                Ok(0)
            }
            Hypercall::DomainCreate { .. } => self.create(&read(buffer)?),
            Hypercall::DomainDestroy { domain } => self.destroy(domain),
            Hypercall::DomainPause { domain } => {
                self.alive(domain)?.pauses += 1;
                Ok(0)
            }
            Hypercall::DomainUnpause { domain } => {
                let d = self.alive(domain)?;
                d.pauses = d.pauses.checked_sub(1).ok_or(refuse(Status::State))?;
                d.new = false;
                Ok(0)
            }
            Hypercall::DomainInfo { at_or_after, .. } => {
                let id = at_or_after as DomainId;
                let (id, d) = self.domains.range(id..).next().ok_or(refuse(Status::NotFound))?;
                write(buffer, &self.domain_info(*id, d))
            }
            Hypercall::DomainShutdown { domain, reason } => {
                let obey = self.guests_obey;
                let d = self.alive(domain)?;
                if obey {
                    d.shutdown = Some((reason as u32, 0));
                    self.raise_virq(virq::DOMAIN_STATE);
                }
                Ok(0)
            }
            Hypercall::DomainWeight { domain, weight, cap } => {
                if weight == 0 || weight > 65535 {
                    return Err(refuse(Status::Invalid));
                }
                let config = &mut self.alive(domain)?.config;
                (config.weight, config.cap) = (weight as u32, cap as u32);
                Ok(0)
            }
            Hypercall::MemoryPopulate { domain, gpa, pages } => self.populate(domain, gpa, pages),
            Hypercall::MemoryPool { index: 0, .. } => write(
                buffer,
                &MemoryRange { start: 0x4000_0000, end: 0x4000_0000 + self.pool_pages * PAGE_SIZE },
            ),
            Hypercall::MemoryPool { .. } => Err(refuse(Status::NotFound)),
            Hypercall::HostInfo { .. } => write(buffer, &self.host_info()),
            Hypercall::LogRead { cursor, .. } => {
                let text = self.log.get(cursor as usize..).unwrap_or_default();
                let n = text.len().min(buffer.len());
                buffer[..n].copy_from_slice(&text[..n]);
                Ok((cursor + n as u64) << 16 | n as u64)
            }
            Hypercall::TraceRead { domain, vcpu, .. } => {
                self.vcpu(domain, vcpu)?;
                write(buffer, &ExitTrace::new_zeroed())
            }
            Hypercall::Audit {} => Ok(0),
            Hypercall::DebugKey { key } => {
                let name = usize::try_from(key).ok().and_then(|key| debug_key::NAMES.get(key));
                let name = name.ok_or(refuse(Status::Invalid))?;
                let line = format!("[    0.000002] INFO core: debug: {name} of a fake core\n");
                self.log.extend_from_slice(line.as_bytes());
                Ok(1)
            }
            Hypercall::DomainCounters { domain, .. } => {
                let d = self.of(domain)?;
                let counters = DomainCounters {
                    ports: d.ports.len() as u64,
                    pages: d.memory.pages(),
                    foreign_pages: d.memory.mapped.load(Ordering::Relaxed),
                    ..DomainCounters::default()
                };
                write(buffer, &counters)
            }
            Hypercall::GrantRevoke { domain, force: 1, .. } => {
                // No guest runs, so none has granted anything.
                self.of(domain).map(|_| 0)
            }
            Hypercall::WallclockSet { .. } => Ok(0),
            _ => Err(refuse(Status::NoCall)),
        }
    }

    fn event_status(&mut self, owner: u64, port: u64, buffer: &mut [u8]) -> Answer {
        let port = self.of(owner)?.ports.get(&(port as u32)).ok_or(refuse(Status::NotFound))?;
        let (kind, remote, remote_port) = match port.peer {
            Peer::Unbound { remote } => (kind::UNBOUND, remote, 0),
            Peer::Joined { remote, port } => (kind::JOINED, remote, port),
            Peer::Virq(virq) => (kind::VIRQ, 0, virq as u32),
        };
        let status =
            EventStatus { kind, remote: remote.into(), remote_port, ..EventStatus::default() };
        write(buffer, &status)
    }

    fn create(&mut self, config: &DomainConfig) -> Answer {
        if config.vcpus == 0 || config.vcpus as usize > MAX_VCPUS || config.flags != 0 {
            return Err(refuse(Status::Invalid));
        }
        let id = (1..DomainId::MAX)
            .find(|id| !self.domains.contains_key(id))
            .ok_or(refuse(Status::Limit))?;
        let memory = Memory::new(self).map_err(|_| refuse(Status::NoMemory))?;
        let mut config = *config;
        if config.weight == 0 {
            config.weight = 256;
        }
        let domain = Domain {
            vcpus: vec![Vcpu::default(); config.vcpus as usize],
            config,
            pauses: 1,
            new: true,
            shutdown: None,
            dying: 0,
            memory: Arc::new(memory),
            ports: Default::default(),
        };
        self.domains.insert(id, domain);
        Ok(id.into())
    }

    fn destroy(&mut self, domain: u64) -> Answer {
        if domain == u64::from(DOM_CONTROL) {
            return Err(refuse(Status::Denied));
        }
        let d = self.of(domain)?;
        d.dying += 1;
        // Two steps of work, so that callers have to loop.
        if d.dying <= 2 {
            return Err((Status::Again, 0));
        }
        let id = domain as DomainId;
        let ports: Vec<u32> = self.of(domain)?.ports.keys().copied().collect();
        for port in ports {
            self.close_port(id, port);
        }
        // A control domain's port for it is now a port to nobody.
        self.domains.remove(&id);
        self.raise_virq(virq::DOMAIN_STATE);
        Ok(0)
    }

    fn populate(&mut self, domain: u64, gpa: u64, pages: u64) -> Answer {
        if !gpa.is_multiple_of(PAGE_SIZE) || pages == 0 {
            return Err(refuse(Status::Invalid));
        }
        let free = self.free_pages.clone();
        let d = self.alive(domain)?;
        if d.memory.pages() + pages > d.config.max_pages {
            return Err(refuse(Status::Limit));
        }
        let now = pages.min(PAGES_PER_CALL);
        if free.load(Ordering::Relaxed) < now {
            return Err(refuse(Status::NoMemory));
        }
        if !d.memory.populate(gpa / PAGE_SIZE, now) {
            return Err(refuse(Status::Exists));
        }
        free.fetch_sub(now, Ordering::Relaxed);
        if now < pages {
            return Err((Status::Again, now));
        }
        Ok(now)
    }
}
