// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scheduling: a queue a CPU, proportional share by weight.
//!
//! A vCPU's *vruntime* is the time it ran, scaled by 256/weight; the ready
//! vCPU with the least runs next, for a slice when others wait. A vCPU that
//! wakes starts little behind the queue's least, so that it runs soon but can
//! save nothing up. A CPU with nothing to do takes work from others; a vCPU
//! that wakes goes to an idle CPU it may use. The control domain's vCPU n
//! stays on CPU n.

pub mod balance;
pub mod queue;
pub mod time;
pub mod watchdog;

use crate::domain::Domain;
use crate::per_cpu::{self, PerCpu};
use crate::vcpu::{NEVER, Vcpu, signal};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::vcpu::run_state;
use hv_hal::addr::CpuId;
use hv_hal::{cpu, time as clock};

/// A vCPU that is kept alive by its domain.
#[derive(Clone)]
pub struct Handle {
    /// The domain.
    pub domain: Arc<Domain>,
    /// Position of the vCPU.
    pub index: usize,
}

impl Handle {
    /// The vCPU.
    pub fn vcpu(&self) -> Option<&Vcpu> {
        self.domain.vcpus.get(self.index)
    }

    fn is(&self, domain: &Domain, index: usize) -> bool {
        self.index == index && self.domain.id == domain.id
    }
}

fn cpus() -> impl Iterator<Item = (CpuId, &'static PerCpu)> {
    (0..cpu::count()).filter_map(|i| Some((CpuId(i), per_cpu::of(CpuId(i))?)))
}

/// Makes sure that every queue has room for that many more vCPUs, so that
/// no later step needs memory.
pub fn reserve(vcpus: usize) -> Result<(), Status> {
    cpus().try_for_each(|(_, cpu)| cpu.queue.lock().reserve(vcpus))
}

/// Takes a dying domain's vCPUs out of all queues.
pub fn forget(domain: &Domain) {
    for (_, cpu) in cpus() {
        let mut queue = cpu.queue.lock();
        queue.forget(domain, cpu);
    }
    for vcpu in &domain.vcpus {
        if !vcpu.is_offline() {
            vcpu.set_state(run_state::STOPPED);
        }
    }
}

/// Signals that bring an offline vCPU back.
const START: u32 = signal::SIPI | signal::START;

/// Something was posted to a vCPU: wakes it, or makes its CPU look.
pub fn notify(domain: &Arc<Domain>, index: usize) {
    let Some(vcpu) = domain.vcpus.get(index) else {
        return;
    };
    match vcpu.state() {
        run_state::RUNNING => {
            let cpu = vcpu.last_cpu();
            if cpu != cpu::current() {
                // The CPU itself takes interrupts; for anything else the
                // vCPU has to come out.
                let only_posted = vcpu.signals.load(Ordering::SeqCst) == 0;
                if only_posted && hv_hal::vcpu::assist().posting {
                    cpu::poke(cpu);
                } else {
                    cpu::kick(cpu);
                }
            }
        }
        run_state::BLOCKED => wake(domain, index, run_state::BLOCKED),
        run_state::OFFLINE if vcpu.signals.load(Ordering::SeqCst) & START != 0 => {
            wake(domain, index, run_state::OFFLINE);
        }
        _ => {}
    }
}

/// Makes a waiting vCPU ready; only one who changes its state does so.
pub fn wake(domain: &Arc<Domain>, index: usize, from: u32) {
    let Some(vcpu) = domain.vcpus.get(index) else {
        return;
    };
    if !vcpu.change_state(from, run_state::READY) {
        return;
    }
    let asleep = vcpu.wake_at.swap(NEVER, Ordering::SeqCst) != NEVER;
    if asleep && let Some(cpu) = per_cpu::of(vcpu.last_cpu()) {
        cpu.queue.lock().unsleep(domain, index, cpu);
    }
    let handle = Handle { domain: domain.clone(), index };
    enqueue(handle, true);
}

/// Puts a ready vCPU into the queue of a CPU it may use.
pub fn enqueue(handle: Handle, woken: bool) {
    let Some(vcpu) = handle.vcpu() else { return };
    vcpu.times.since.store(clock::now(), Ordering::Relaxed);
    let chosen = balance::place(vcpu);
    let Some(cpu) = per_cpu::of(chosen) else {
        return;
    };
    vcpu.set_cpu(chosen);
    cpu.queue.lock().push(handle, woken, cpu);
    cpu.resched.store(true, Ordering::SeqCst);
    if chosen != cpu::current() {
        cpu::kick(chosen);
    }
}

/// The last pause of a domain ended: its stopped vCPUs are ready again.
pub fn resume(domain: &Arc<Domain>) {
    for index in 0..domain.vcpus.len() {
        wake(domain, index, run_state::STOPPED);
    }
}

/// Chooses the next vCPU for this CPU and marks it as running here.
pub fn pick(here: CpuId) -> Option<Handle> {
    let cpu = per_cpu::of(here)?;
    cpu.resched.store(false, Ordering::SeqCst);
    time::wake_sleepers(cpu);
    let next = cpu.queue.lock().pop(cpu);
    let handle = next.or_else(|| balance::steal(here))?;
    let vcpu = handle.vcpu()?;
    let now = clock::now();
    let waited = now.saturating_sub(vcpu.times.since.swap(now, Ordering::Relaxed));
    vcpu.times.wait.fetch_add(waited, Ordering::Relaxed);
    vcpu.set_cpu(here);
    vcpu.set_state(run_state::RUNNING);
    Some(handle)
}
