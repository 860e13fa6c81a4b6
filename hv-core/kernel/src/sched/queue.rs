// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU's queue: the ready vCPUs, and the sleepers in order of the time
//! they wake at. Room is reserved when domains are made: nothing here
//! allocates.

use super::Handle;
use crate::domain::Domain;
use crate::memory::pool;
use crate::per_cpu::PerCpu;
use crate::vcpu::NEVER;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use hv_abi::Status;

/// How much earlier than the others a woken vCPU may stand: 2 ms.
const WAKE_BONUS_US: u64 = 2_000;

/// The queue.
pub struct Queue {
    ready: Vec<Handle>,
    sleepers: Vec<(u64, Handle)>,
    /// Least vruntime anyone here had; never goes back.
    least: u64,
    reserved: usize,
}

impl Queue {
    /// An empty queue without room.
    pub const fn new() -> Self {
        Self { ready: Vec::new(), sleepers: Vec::new(), least: 0, reserved: 0 }
    }

    /// Makes room for that many more.
    pub fn reserve(&mut self, more: usize) -> Result<(), Status> {
        let total = self.reserved + more;
        // Rooms are doubled, so that ten thousand domains made and destroyed
        // cost a handful of reallocations, and never given back.
        if total > self.ready.capacity() || total > self.sleepers.capacity() {
            if !pool::make_room(total * 2 * (size_of::<Handle>() * 2 + 8)) {
                return Err(Status::NoMemory);
            }
            let grow = total * 2;
            let ready = grow - self.ready.len();
            let sleep = grow - self.sleepers.len();
            self.ready
                .try_reserve_exact(ready)
                .and_then(|()| self.sleepers.try_reserve_exact(sleep))
                .map_err(|_| Status::NoMemory)?;
        }
        self.reserved = total;
        Ok(())
    }

    fn publish(&self, cpu: &PerCpu) {
        cpu.ready.store(self.ready.len() as u32, Ordering::SeqCst);
        let next = self.sleepers.first().map_or(NEVER, |s| s.0);
        cpu.next_wake.store(next, Ordering::SeqCst);
    }

    /// Adds a ready vCPU, whose vruntime came on another queue's scale or is
    /// old: it is brought up to this queue's.
    pub fn push(&mut self, handle: Handle, woken: bool, cpu: &PerCpu) {
        if let Some(vcpu) = handle.vcpu() {
            let bonus = crate::clock::ticks_of_us(if woken { WAKE_BONUS_US } else { 0 });
            let floor = self.least.saturating_sub(bonus);
            let ceiling = self.least.saturating_add(crate::clock::ticks_of_us(100_000));
            let own = vcpu.vruntime.load(Ordering::Relaxed);
            vcpu.vruntime.store(own.clamp(floor, ceiling), Ordering::Relaxed);
        }
        self.ready.push(handle);
        self.publish(cpu);
    }

    /// The ready vCPU with the least vruntime.
    pub fn pop(&mut self, cpu: &PerCpu) -> Option<Handle> {
        let best = self.best(|_| true)?;
        let handle = self.ready.swap_remove(best);
        if let Some(vcpu) = handle.vcpu() {
            self.least = self.least.max(vcpu.vruntime.load(Ordering::Relaxed));
        }
        self.publish(cpu);
        Some(handle)
    }

    /// Takes a ready vCPU that may run on another CPU.
    pub fn take_for(&mut self, other: u32, cpu: &PerCpu) -> Option<Handle> {
        let best = self.best(|h| {
            h.vcpu().is_some_and(|v| v.affinity.load(Ordering::Relaxed) >> other & 1 == 1)
        })?;
        let handle = self.ready.swap_remove(best);
        self.publish(cpu);
        Some(handle)
    }

    fn best(&self, allowed: impl Fn(&Handle) -> bool) -> Option<usize> {
        self.ready
            .iter()
            .enumerate()
            .filter(|(_, h)| allowed(h))
            .min_by_key(|(_, h)| h.vcpu().map_or(u64::MAX, |v| v.vruntime.load(Ordering::Relaxed)))
            .map(|(i, _)| i)
    }

    /// Least vruntime of the ready ones.
    pub fn least_ready(&self) -> Option<u64> {
        let best = self.best(|_| true)?;
        let vcpu = self.ready.get(best)?.vcpu()?;
        Some(vcpu.vruntime.load(Ordering::Relaxed))
    }

    /// Notes that a blocked vCPU wakes at a time.
    pub fn sleep(&mut self, at: u64, handle: Handle, cpu: &PerCpu) {
        let place = self.sleepers.partition_point(|s| s.0 <= at);
        self.sleepers.insert(place, (at, handle));
        self.publish(cpu);
    }

    /// It woke otherwise.
    pub fn unsleep(&mut self, domain: &Domain, index: usize, cpu: &PerCpu) {
        self.sleepers.retain(|s| !s.1.is(domain, index));
        self.publish(cpu);
    }

    /// The next sleeper that is due.
    pub fn due(&mut self, now: u64, cpu: &PerCpu) -> Option<Handle> {
        self.sleepers.first().filter(|s| s.0 <= now)?;
        let (_, handle) = self.sleepers.remove(0);
        self.publish(cpu);
        Some(handle)
    }

    /// Takes a dying domain out, and its reservation back.
    pub fn forget(&mut self, domain: &Domain, cpu: &PerCpu) {
        self.ready.retain(|h| h.domain.id != domain.id);
        self.sleepers.retain(|s| s.1.domain.id != domain.id);
        self.reserved = self.reserved.saturating_sub(domain.vcpus.len());
        self.publish(cpu);
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}
