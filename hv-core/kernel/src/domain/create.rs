// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a domain: check all, take what it needs, enter it into the table.

use super::{Domain, table};
use crate::event::Ports;
use crate::grant::Grants;
use crate::logging::Limiter;
use crate::memory::DomainMemory;
use crate::memory::pool::{self, TablesOf};
use crate::sched;
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use hv_abi::domain::DomainConfig;
use hv_abi::{DomainId, MAX_DOMAINS, MAX_VCPUS, Status};
use hv_hal::exit::Role;
use spin::Mutex;

/// Ports a domain may have when its builder does not say.
pub const DEFAULT_PORTS: u32 = 1024;
/// The most it may have.
pub const MAX_PORTS: u32 = 1 << hv_abi::event::LOG2_PORTS_MAX;
/// Heap a vCPU takes beyond its hardware pages, rounded up.
const VCPU_HEAP: usize = 4096;
/// Heap a domain takes beyond its vCPUs and ports, rounded up.
const DOMAIN_HEAP: usize = 4096;

/// Makes a paused domain without memory, enters it and returns it.
pub fn create(config: &DomainConfig, role: Role, id: DomainId) -> Result<Arc<Domain>, Status> {
    let vcpus = usize::try_from(config.vcpus).map_err(|_| Status::Invalid)?;
    let ports = match config.max_ports {
        0 => DEFAULT_PORTS,
        n if n <= MAX_PORTS => n,
        _ => return Err(Status::Invalid),
    };
    let weight = match config.weight {
        0 => 256,
        n if n <= 0xffff => n,
        _ => return Err(Status::Invalid),
    };
    let start_info_ok = config.start_info.is_multiple_of(8);
    if vcpus == 0 || vcpus > MAX_VCPUS || config.flags != 0 || !start_info_ok {
        return Err(Status::Invalid);
    }
    if usize::from(id) >= MAX_DOMAINS {
        return Err(Status::Invalid);
    }
    // The heap answers no allocation with a failure the language lets us
    // handle everywhere, so room for all of it is made sure of first.
    let need = DOMAIN_HEAP + vcpus * VCPU_HEAP + ports as usize * Ports::BYTES_A_PORT;
    if !pool::make_room(need) {
        return Err(Status::NoMemory);
    }
    let memory = DomainMemory::new(id, config.max_pages).ok_or(Status::NoMemory)?;
    let made = make_vcpus(&memory, role, id, vcpus);
    let vcpus = match made {
        Ok(vcpus) => vcpus,
        Err(status) => {
            release_tables(&memory, id);
            return Err(status);
        }
    };
    let domain = Arc::new(Domain {
        id,
        role,
        name: config.name,
        uuid: config.uuid,
        start_info: config.start_info,
        vcpus: vcpus.into_boxed_slice(),
        memory,
        ports: Ports::new(ports),
        grants: Grants::new(),
        pauses: AtomicU32::new(1),
        new: AtomicBool::new(true),
        stopped: Mutex::new(None),
        is_stopped: AtomicBool::new(false),
        dying: AtomicBool::new(false),
        shutdown_request: AtomicU32::new(0),
        weight: AtomicU32::new(weight),
        cap: AtomicU32::new(config.cap),
        cap_period: AtomicU64::new(0),
        cap_used: AtomicU64::new(0),
        hypercalls: AtomicU64::new(0),
        watchdog: AtomicU64::new(crate::vcpu::NEVER),
        log_limit: Limiter::new(),
    });
    let reserved = sched::reserve(domain.vcpus.len());
    let entered = reserved.and_then(|()| table::insert(domain.clone()));
    if let Err(status) = entered {
        release(&domain);
        return Err(status);
    }
    Ok(domain)
}

fn make_vcpus(
    memory: &DomainMemory,
    role: Role,
    id: DomainId,
    count: usize,
) -> Result<Vec<Vcpu>, Status> {
    let mut vcpus = Vec::new();
    vcpus.try_reserve_exact(count).map_err(|_| Status::NoMemory)?;
    let stage2 = memory.stage2.read();
    for index in 0..count {
        match Vcpu::new(role, id, index as u32, &stage2) {
            Some(vcpu) => vcpus.push(vcpu),
            None => {
                for vcpu in &vcpus {
                    vcpu.release(&mut TablesOf(id));
                }
                return Err(Status::NoMemory);
            }
        }
    }
    Ok(vcpus)
}

fn release_tables(memory: &DomainMemory, id: DomainId) {
    let mut stage2 = memory.stage2.write();
    // No leaf was ever mapped, so one step with room for the root does.
    while !stage2.teardown(64, &mut TablesOf(id), &mut |_, _| {}) {}
}

/// Gives back the hardware pages and tables of a domain without memory.
pub fn release(domain: &Domain) {
    for vcpu in &domain.vcpus {
        vcpu.release(&mut TablesOf(domain.id));
    }
    release_tables(&domain.memory, domain.id);
}
