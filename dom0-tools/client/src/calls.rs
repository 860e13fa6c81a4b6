// SPDX-License-Identifier: MIT OR Apache-2.0
//! One method per hypercall that user space makes. Events' binding and foreign
//! memory go through their own doors, and what a domain says about itself
//! (rings, blocking, shutdown) is its kernel's, so those have none here.

use crate::{Core, Error, Reply};
use hv_abi::domain::{DomainConfig, DomainCounters, DomainInfo};
use hv_abi::event::EventStatus;
use hv_abi::grant::GrantInfo;
use hv_abi::host::HostInfo;
use hv_abi::memory::{MemoryInfo, MemoryRange};
use hv_abi::vcpu::{ExitTrace, VcpuContext, VcpuInfo, VcpuRunState};
use hv_abi::{DomainId, Hypercall, PAGE_SIZE, Status};
use zerocopy::{FromBytes, IntoBytes};

/// Typed hypercalls on any [`Core`].
pub trait Calls: Core {
    /// The interface's version, major << 16 | minor.
    fn version(&self) -> Result<u32, Error> {
        Ok(run(self, Hypercall::Version {}, None, None)? as u32)
    }

    /// Appends text to the core's log; says how many bytes were taken.
    fn console_write(&self, text: &[u8]) -> Result<usize, Error> {
        let mut text = text[..text.len().min(256)].to_vec();
        let len = text.len() as u64;
        let call = Hypercall::ConsoleWrite { gpa: 0, len };
        Ok(run(self, call, None, Some(&mut text))? as usize)
    }

    /// Nanoseconds since 1970-01-01 UTC, or 0 while nobody has said.
    fn wallclock_get(&self) -> Result<u64, Error> {
        run(self, Hypercall::WallclockGet {}, None, None)
    }

    /// Tells the core the time of day.
    fn wallclock_set(&self, nanoseconds: u64) -> Result<(), Error> {
        run(self, Hypercall::WallclockSet { nanoseconds }, None, None).map(drop)
    }

    /// Makes a port of `owner` that the control domain may bind to.
    fn event_alloc(&self, owner: DomainId) -> Result<u32, Error> {
        let call =
            Hypercall::EventAlloc { owner: owner.into(), remote: hv_abi::DOM_CONTROL.into() };
        Ok(run(self, call, Some(owner), None)? as u32)
    }

    /// What a port of a domain is.
    fn event_status(&self, owner: DomainId, port: u32) -> Result<EventStatus, Error> {
        let call = Hypercall::EventStatus { owner: owner.into(), port: port.into(), gpa: 0 };
        read(self, call, Some(owner))
    }

    /// Sets every register of a vCPU of a paused domain.
    fn vcpu_set_context(
        &self,
        domain: DomainId,
        vcpu: u32,
        context: &VcpuContext,
    ) -> Result<(), Error> {
        let call = Hypercall::VcpuSetContext { domain: domain.into(), vcpu: vcpu.into(), gpa: 0 };
        let mut bytes = context.as_bytes().to_vec();
        run(self, call, Some(domain), Some(&mut bytes)).map(drop)
    }

    /// Every register of a vCPU of a paused domain.
    fn vcpu_get_context(&self, domain: DomainId, vcpu: u32) -> Result<VcpuContext, Error> {
        let call = Hypercall::VcpuGetContext { domain: domain.into(), vcpu: vcpu.into(), gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Figures of a vCPU.
    fn vcpu_info(&self, domain: DomainId, vcpu: u32) -> Result<VcpuInfo, Error> {
        let call = Hypercall::VcpuInfo { domain: domain.into(), vcpu: vcpu.into(), gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Restricts a vCPU to CPUs.
    fn vcpu_affinity(&self, domain: DomainId, vcpu: u32, cpus: u64) -> Result<(), Error> {
        let call = Hypercall::VcpuAffinity { domain: domain.into(), vcpu: vcpu.into(), cpus };
        run(self, call, Some(domain), None).map(drop)
    }

    /// Makes a paused domain; its number.
    fn domain_create(&self, config: &DomainConfig) -> Result<DomainId, Error> {
        let mut bytes = config.as_bytes().to_vec();
        let call = Hypercall::DomainCreate { gpa: 0 };
        Ok(run(self, call, None, Some(&mut bytes))? as DomainId)
    }

    /// One step of a domain's destruction; `true` when it is gone.
    fn domain_destroy_step(&self, domain: DomainId) -> Result<bool, Error> {
        let call = Hypercall::DomainDestroy { domain: domain.into() };
        let reply = self.call(call, None)?;
        match reply.status {
            Status::Again => Ok(false),
            _ => check(call, Some(domain), reply).map(|_| true),
        }
    }

    /// Holds a domain's vCPUs.
    fn domain_pause(&self, domain: DomainId) -> Result<(), Error> {
        let call = Hypercall::DomainPause { domain: domain.into() };
        run(self, call, Some(domain), None).map(drop)
    }

    /// Takes one pause back.
    fn domain_unpause(&self, domain: DomainId) -> Result<(), Error> {
        let call = Hypercall::DomainUnpause { domain: domain.into() };
        run(self, call, Some(domain), None).map(drop)
    }

    /// The first domain whose number is at least `at_or_after`.
    fn domain_info(&self, at_or_after: DomainId) -> Result<Option<DomainInfo>, Error> {
        let call = Hypercall::DomainInfo { at_or_after: at_or_after.into(), gpa: 0 };
        match read(self, call, Some(at_or_after)) {
            Ok(info) => Ok(Some(info)),
            Err(e) if e.status() == Some(Status::NotFound) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every domain, the control domain included.
    fn domains(&self) -> Result<Vec<DomainInfo>, Error> {
        let mut all = Vec::new();
        let mut next = 0;
        while let Some(info) = self.domain_info(next)? {
            let id = info.domain as DomainId;
            all.push(info);
            // A core that goes backwards would keep us here for ever.
            match id.checked_add(1) {
                Some(after) if id >= next => next = after,
                _ => break,
            }
        }
        Ok(all)
    }

    /// Asks a domain to stop for one of `hv_abi::domain::reason`.
    fn domain_shutdown(&self, domain: DomainId, reason: u32) -> Result<(), Error> {
        let call = Hypercall::DomainShutdown { domain: domain.into(), reason: reason.into() };
        run(self, call, Some(domain), None).map(drop)
    }

    /// Sets weight and cap.
    fn domain_weight(&self, domain: DomainId, weight: u32, cap: u32) -> Result<(), Error> {
        let call = Hypercall::DomainWeight {
            domain: domain.into(),
            weight: weight.into(),
            cap: cap.into(),
        };
        run(self, call, Some(domain), None).map(drop)
    }

    /// Gives a domain memory; loops until all of it is there. `keep_on` is
    /// asked between calls.
    fn memory_populate(
        &self,
        domain: DomainId,
        gpa: u64,
        pages: u64,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<u64, Error> {
        let mut done = 0;
        while done < pages && keep_on() {
            let call = Hypercall::MemoryPopulate {
                domain: domain.into(),
                gpa: gpa + done * PAGE_SIZE,
                pages: pages - done,
            };
            let reply = self.call(call, None)?;
            if reply.status != Status::Again {
                check(call, Some(domain), reply)?;
            }
            if reply.value == 0 {
                return Err(Error::NoProgress { call: call.info().name, domain });
            }
            done += reply.value.min(pages - done);
        }
        Ok(done)
    }

    /// The machine ranges guests' memory comes from.
    fn memory_pools(&self) -> Result<Vec<MemoryRange>, Error> {
        let mut all = Vec::new();
        loop {
            let index = all.len() as u64;
            match read(self, Hypercall::MemoryPool { index, gpa: 0 }, None) {
                Ok(range) => all.push(range),
                Err(e) if e.status() == Some(Status::NotFound) => return Ok(all),
                Err(e) => return Err(e),
            }
        }
    }

    /// CPUs, clock, memory and every counter of the core.
    fn host_info(&self) -> Result<HostInfo, Error> {
        read(self, Hypercall::HostInfo { gpa: 0 }, None)
    }

    /// Log text from position `cursor` on, and the next position.
    fn log_read(&self, cursor: u64) -> Result<(Vec<u8>, u64), Error> {
        let mut text = vec![0; PAGE_SIZE as usize];
        let call = Hypercall::LogRead { cursor, gpa: 0, len: PAGE_SIZE };
        let value = run(self, call, None, Some(&mut text))?;
        text.truncate((value & 0xffff) as usize);
        Ok((text, value >> 16))
    }

    /// The latest exits of a vCPU.
    fn trace_read(&self, domain: DomainId, vcpu: u32) -> Result<ExitTrace, Error> {
        let call = Hypercall::TraceRead { domain: domain.into(), vcpu: vcpu.into(), gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Checks every frame; number of discrepancies.
    fn audit(&self) -> Result<u64, Error> {
        run(self, Hypercall::Audit {}, None, None)
    }

    /// Has the core write a part of its state into its log
    /// (`hv_abi::host::debug_key`); lines written.
    fn debug_key(&self, key: u64) -> Result<u64, Error> {
        run(self, Hypercall::DebugKey { key }, None, None)
    }

    /// What a domain did and has.
    fn domain_counters(&self, domain: DomainId) -> Result<DomainCounters, Error> {
        let call = Hypercall::DomainCounters { domain: domain.into(), gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Sets a limit (`hv_abi::domain::limit`), or with `None` only asks;
    /// the limit in force.
    fn domain_limit(&self, domain: DomainId, limit: u64, value: Option<u64>) -> Result<u64, Error> {
        let value = value.unwrap_or(hv_abi::domain::limit::ASK);
        let call = Hypercall::DomainLimit { domain: domain.into(), limit, value };
        run(self, call, Some(domain), None)
    }

    /// Sets pages of the pool aside for a domain, in place of an earlier claim.
    fn memory_claim(&self, domain: DomainId, pages: u64) -> Result<(), Error> {
        let call = Hypercall::MemoryClaim { domain: domain.into(), pages };
        run(self, call, Some(domain), None).map(drop)
    }

    /// What is at an address of a domain.
    fn memory_query(&self, domain: DomainId, gpa: u64) -> Result<MemoryInfo, Error> {
        let call = Hypercall::MemoryQuery { domain: domain.into(), gpa, out_gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Lets an offline vCPU run on.
    fn vcpu_start(&self, domain: DomainId, vcpu: u32) -> Result<(), Error> {
        let call = Hypercall::VcpuStart { domain: domain.into(), vcpu: vcpu.into() };
        run(self, call, Some(domain), None).map(drop)
    }

    /// Takes a vCPU offline, with its registers kept.
    fn vcpu_stop(&self, domain: DomainId, vcpu: u32) -> Result<(), Error> {
        let call = Hypercall::VcpuStop { domain: domain.into(), vcpu: vcpu.into() };
        run(self, call, Some(domain), None).map(drop)
    }

    /// State, CPUs and times of a vCPU.
    fn vcpu_run_state(&self, domain: DomainId, vcpu: u32) -> Result<VcpuRunState, Error> {
        let call = Hypercall::VcpuRunState { domain: domain.into(), vcpu: vcpu.into(), gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Says on which CPUs a vCPU should run where it has the choice.
    fn vcpu_affinity_soft(&self, domain: DomainId, vcpu: u32, cpus: u64) -> Result<(), Error> {
        let call = Hypercall::VcpuAffinitySoft { domain: domain.into(), vcpu: vcpu.into(), cpus };
        run(self, call, Some(domain), None).map(drop)
    }

    /// A grant of a domain.
    fn grant_query(&self, domain: DomainId, grant: u32) -> Result<GrantInfo, Error> {
        let call = Hypercall::GrantQuery { domain: domain.into(), grant: grant.into(), gpa: 0 };
        read(self, call, Some(domain))
    }

    /// Takes a grant of a domain (or with `None` all of them) back by force,
    /// to the end.
    fn grant_revoke(&self, domain: DomainId, grant: Option<u32>) -> Result<(), Error> {
        let grant = grant.map_or(hv_abi::grant::ALL, u64::from);
        let call = Hypercall::GrantRevoke { domain: domain.into(), grant, force: 1 };
        loop {
            let reply = self.call(call, None)?;
            if reply.status != Status::Again {
                return check(call, Some(domain), reply).map(drop);
            }
        }
    }

    /// Restarts or stops the machine (`hv_abi::host::power`).
    fn host_power(&self, action: u64) -> Result<(), Error> {
        run(self, Hypercall::HostPower { action }, None, None).map(drop)
    }
}

impl<T: Core + ?Sized> Calls for T {}

fn check(call: Hypercall, domain: Option<DomainId>, reply: Reply) -> Result<u64, Error> {
    match reply.status {
        Status::Ok => Ok(reply.value),
        status => Err(Error::Refused { call: call.info().name, domain, status }),
    }
}

fn run<C: Core + ?Sized>(
    core: &C,
    call: Hypercall,
    domain: Option<DomainId>,
    buffer: Option<&mut [u8]>,
) -> Result<u64, Error> {
    check(call, domain, core.call(call, buffer)?)
}

fn read<C: Core + ?Sized, T: FromBytes + IntoBytes>(
    core: &C,
    call: Hypercall,
    domain: Option<DomainId>,
) -> Result<T, Error> {
    let mut answer = T::new_zeroed();
    run(core, call, domain, Some(answer.as_mut_bytes()))?;
    Ok(answer)
}
