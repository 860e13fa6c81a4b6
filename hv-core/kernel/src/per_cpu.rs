// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each CPU has of its own, and what others may look at.

use crate::sched::queue::Queue;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hv_abi::DomainId;
use hv_hal::addr::CpuId;
use hv_hal::cpu;
use spin::{Mutex, Once};

/// `running` when no domain is on the CPU.
const NOBODY: u32 = u32::MAX;

/// One CPU.
pub struct PerCpu {
    /// Counts entries to and exits from guest mode: odd while inside.
    pub entries: AtomicU64,
    running: AtomicU32,
    /// vCPUs that are ready, and those that sleep until a time.
    pub queue: Mutex<Queue>,
    /// vCPUs in the ready part, readable without the lock.
    pub ready: AtomicU32,
    /// Earliest time a sleeper wakes, readable without the lock.
    pub next_wake: AtomicU64,
    /// It has nothing to run.
    pub idle: AtomicBool,
    /// It should choose again.
    pub resched: AtomicBool,
    /// Deadline its timer is armed for, 0 for none; others only read it.
    pub armed: AtomicU64,
    /// TSC of its next look at its neighbour; its own use only, as are the
    /// neighbour's entries at the last one, and the looks since they changed.
    pub look_at: AtomicU64,
    /// See above.
    pub seen: AtomicU64,
    /// See above.
    pub unmoved: AtomicU32,
}

static CPUS: Once<Box<[PerCpu]>> = Once::new();

/// Makes the table, for as many CPUs as the hal knows; called once.
pub fn init() {
    CPUS.call_once(|| (0..cpu::count()).map(|_| PerCpu::new()).collect());
}

/// A CPU's own.
pub fn of(id: CpuId) -> Option<&'static PerCpu> {
    CPUS.get()?.get(id.0 as usize)
}

/// This CPU's own.
pub fn here() -> Option<&'static PerCpu> {
    of(cpu::current())
}

impl PerCpu {
    fn new() -> Self {
        Self {
            entries: AtomicU64::new(0),
            running: AtomicU32::new(NOBODY),
            queue: Mutex::new(Queue::new()),
            ready: AtomicU32::new(0),
            next_wake: AtomicU64::new(u64::MAX),
            idle: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            armed: AtomicU64::new(0),
            look_at: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            unmoved: AtomicU32::new(0),
        }
    }

    /// A vCPU of this domain is on the CPU.
    pub fn runs(&self, domain: DomainId) -> bool {
        self.running.load(Ordering::SeqCst) == u32::from(domain)
    }

    /// Notes whose vCPU is on the CPU.
    pub fn set_running(&self, domain: Option<DomainId>) {
        let value = domain.map_or(NOBODY, u32::from);
        self.running.store(value, Ordering::SeqCst);
    }
}
