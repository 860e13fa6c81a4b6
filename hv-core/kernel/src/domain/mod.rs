// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain: vCPUs, memory, ports and an account. It is made whole by
//! [`create`], lives in the [`table`], and is taken down in bounded steps by
//! [`destroy`].

pub mod create;
pub mod destroy;
pub mod info;
pub mod run;
pub mod table;

use crate::event::Ports;
use crate::grant::Grants;
use crate::logging::Limiter;
use crate::memory::DomainMemory;
use crate::vcpu::Vcpu;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hv_abi::{DOM_CONTROL, DomainId};
use hv_hal::exit::Role;
use spin::Mutex;

/// Why and where a domain stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// One of `hv_abi::domain::reason`.
    pub reason: u32,
    /// What the reason makes of it.
    pub code: u64,
    /// The vCPU that stopped it.
    pub vcpu: u32,
    /// Its instruction pointer.
    pub rip: u64,
}

/// A domain.
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// The control domain or a guest.
    pub role: Role,
    /// Name in UTF-8, zero-padded.
    pub name: [u8; 64],
    /// The tools' own mark.
    pub uuid: [u8; 16],
    /// Guest-physical address of its start info, 0 for none.
    pub start_info: u64,
    /// Its vCPUs; vCPU n has APIC id n (guests) or that of CPU n (control).
    pub vcpus: Box<[Vcpu]>,
    /// Memory.
    pub memory: DomainMemory,
    /// Event ports.
    pub ports: Ports,
    /// Grants, given and used.
    pub grants: Grants,
    /// Pauses held. Not zero: no vCPU is entered.
    pub pauses: AtomicU32,
    /// The builder never unpaused it.
    pub new: AtomicBool,
    /// Why it stopped, once it did.
    pub stopped: Mutex<Option<Stop>>,
    /// Mirror of `stopped.is_some()`, for the scheduler.
    pub is_stopped: AtomicBool,
    /// Destruction has begun: nothing new may refer to it.
    pub dying: AtomicBool,
    /// Latest DomainShutdown's reason + 1, or 0.
    pub shutdown_request: AtomicU32,
    /// Scheduling weight; 256 is usual.
    pub weight: AtomicU32,
    /// CPU limit in percent of one CPU, 0 for none.
    pub cap: AtomicU32,
    /// Period (of 100 ms) that `cap_used` counts.
    pub cap_period: AtomicU64,
    /// TSC ticks used in that period.
    pub cap_used: AtomicU64,
    /// Hypercalls made.
    pub hypercalls: AtomicU64,
    /// TSC at which its watchdog stops it.
    pub watchdog: AtomicU64,
    /// Lines it may cause in the log.
    pub log_limit: Limiter,
}

impl Domain {
    /// It is the control domain.
    pub fn is_control(&self) -> bool {
        self.id == DOM_CONTROL
    }

    /// Destruction has begun.
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::Acquire)
    }

    /// Its vCPUs may be entered.
    pub fn runnable(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) == 0
            && !self.is_stopped.load(Ordering::SeqCst)
            && !self.is_dying()
    }

    /// Destruction has begun and no CPU runs it: none ever will again.
    pub fn is_dead(&self) -> bool {
        self.is_dying() && !run::any_running(self)
    }

    /// Name as text.
    pub fn label(&self) -> &str {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(64);
        core::str::from_utf8(self.name.get(..end).unwrap_or_default()).unwrap_or("?")
    }
}
