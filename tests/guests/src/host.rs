// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls of the control domain, with their structures.

use hv_abi::domain::{DomainConfig, DomainInfo};
use hv_abi::event::EventStatus;
use hv_abi::host::HostInfo;
use hv_abi::memory::{ForeignRun, MemoryRange};
use hv_abi::vcpu::{VcpuContext, VcpuInfo};
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa, gpa_mut};
use zerocopy::FromZeros;

/// HostInfo.
pub fn host() -> Result<HostInfo, Status> {
    let mut info = HostInfo::default();
    call(H::HostInfo { gpa: gpa_mut(&mut info) })?;
    Ok(info)
}

/// DomainInfo of the first domain from `id` on.
pub fn domain_from(id: u64) -> Result<DomainInfo, Status> {
    let mut info = DomainInfo::new_zeroed();
    call(H::DomainInfo { at_or_after: id, gpa: gpa_mut(&mut info) })?;
    Ok(info)
}

/// DomainInfo of this domain.
pub fn domain(id: u64) -> Result<DomainInfo, Status> {
    let info = domain_from(id)?;
    if u64::from(info.domain) == id { Ok(info) } else { Err(Status::NotFound) }
}

/// DomainCreate.
pub fn create(config: &DomainConfig) -> Result<u64, Status> {
    call(H::DomainCreate { gpa: gpa(config) })
}

/// DomainDestroy until done.
pub fn destroy(domain: u64) -> Result<(), Status> {
    loop {
        match call(H::DomainDestroy { domain }) {
            Ok(_) => return Ok(()),
            Err(Status::Again) => {}
            Err(status) => return Err(status),
        }
    }
}

/// MemoryPopulate until done.
pub fn populate(domain: u64, gpa: u64, pages: u64) -> Result<(), Status> {
    let mut done = 0;
    while done < pages {
        done += call(H::MemoryPopulate { domain, gpa: gpa + done * 4096, pages: pages - done })?;
    }
    Ok(())
}

/// MemoryMap of one run.
pub fn map(domain: u64, at: u64, pages: u64) -> Result<ForeignRun, Status> {
    let mut run = ForeignRun::default();
    call(H::MemoryMap { domain, gpa: at, pages, out_gpa: gpa_mut(&mut run) })?;
    Ok(run)
}

/// MemoryUnmap.
pub fn unmap(machine: u64, pages: u64) -> Result<u64, Status> {
    call(H::MemoryUnmap { machine, pages })
}

/// MemoryPool.
pub fn pool(index: u64) -> Result<MemoryRange, Status> {
    let mut range = MemoryRange::default();
    call(H::MemoryPool { index, gpa: gpa_mut(&mut range) })?;
    Ok(range)
}

/// VcpuSetContext.
pub fn set_context(domain: u64, vcpu: u64, context: &VcpuContext) -> Result<(), Status> {
    call(H::VcpuSetContext { domain, vcpu, gpa: gpa(context) }).map(|_| ())
}

/// VcpuGetContext.
pub fn context(domain: u64, vcpu: u64) -> Result<VcpuContext, Status> {
    let mut context = VcpuContext::default();
    call(H::VcpuGetContext { domain, vcpu, gpa: gpa_mut(&mut context) })?;
    Ok(context)
}

/// VcpuInfo.
pub fn vcpu(domain: u64, vcpu: u64) -> Result<VcpuInfo, Status> {
    let mut info = VcpuInfo::default();
    call(H::VcpuInfo { domain, vcpu, gpa: gpa_mut(&mut info) })?;
    Ok(info)
}

/// EventStatus.
pub fn event(owner: u64, port: u64) -> Result<EventStatus, Status> {
    let mut status = EventStatus::default();
    call(H::EventStatus { owner, port, gpa: gpa_mut(&mut status) })?;
    Ok(status)
}
