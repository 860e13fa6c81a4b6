// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on the host.

use crate::clock;
use crate::control::layout;
use crate::domain::{Domain, table};
use crate::guest_memory;
use crate::memory::pool;
use crate::outcome::Answer;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::host::{HostInfo, power as action};
use hv_hal::exit::Vendor;
use hv_hal::{cpu, heap, power as machine, time};

/// HostInfo.
pub fn info(caller: &Domain, gpa: u64) -> Answer {
    let (pool_pages, free_pages) = pool::stats();
    let (heap_used, heap_size) = heap::stats();
    let mut info = HostInfo {
        cpus: cpu::count(),
        // Always known: a domain that calls runs by it.
        vendor: crate::start::vendor().map_or(0, Vendor::code),
        tsc_khz: time::khz(),
        uptime_ns: clock::uptime_ns(),
        total_pages: layout::ram_pages(),
        pool_pages,
        free_pages,
        claimed_pages: pool::claimed(),
        core_pages: layout::core_pages(),
        heap_used,
        heap_size,
        ..HostInfo::default()
    };
    table::each(&mut |domain| {
        info.domains += 1;
        info.vcpus += domain.vcpus.len() as u64;
        info.ports += u64::from(domain.ports.used.load(Ordering::Relaxed));
        info.foreign_pages += domain.memory.foreign.load(Ordering::Relaxed);
        info.grant_uses += domain.grants.uses.load(Ordering::Relaxed);
        info.granted_pages += domain.grants.pages.load(Ordering::Relaxed);
        info.hypercalls += domain.hypercalls.load(Ordering::Relaxed);
        info.exits += domain.vcpus.iter().map(|v| v.trace.total()).sum::<u64>();
    });
    let version = env!("CARGO_PKG_VERSION").bytes();
    info.version.iter_mut().zip(version).for_each(|(to, from)| *to = from);
    guest_memory::write(caller, gpa, &info)?;
    Ok(0)
}

/// HostPower.
pub fn power(what: u64) -> Answer {
    match what {
        action::RESTART => {
            log::info!("restarting, as the control domain asks");
            machine::restart()
        }
        action::HALT => {
            log::info!("stopping, as the control domain asks");
            cpu::halt_all()
        }
        _ => Err(Status::Invalid),
    }
}
