// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CPU that does not come back to its loop is noticed by another: each looks
//! at its neighbour once a second, and reports one that has entered no guest
//! and was not idle for half a minute of the looker's own seconds. (Time that
//! passed while nobody could look, as in a machine that was suspended, does
//! not count.) The report is an NMI to the CPU in question, which says where
//! it is and ends the core: what holds a lock for ever can't be mended.
//!
//! A neighbour whose timer is overdue is kicked: QEMU's TCG 7.2 may lose an
//! interrupt that comes while the CPU enters a guest, and nothing else might
//! ever wake that CPU.

use crate::per_cpu::{self, PerCpu};
use core::sync::atomic::Ordering;
use hv_hal::addr::CpuId;
use hv_hal::{cpu, time};

/// Looks without a change after which a CPU is lost.
const PATIENCE: u32 = 30;

/// TSC ticks between two looks.
fn interval() -> u64 {
    time::khz().saturating_mul(1000)
}

/// When this CPU's timer fires at the latest: no guest keeps a CPU for longer
/// than this without the core having a look.
pub fn next(cpu: &PerCpu) -> u64 {
    cpu.look_at.load(Ordering::Relaxed)
}

/// Has a look at the neighbour when it is time to.
pub fn look(here: CpuId, cpu: &PerCpu, now: u64) {
    if now < cpu.look_at.load(Ordering::Relaxed) {
        return;
    }
    cpu.look_at.store(now.saturating_add(interval()), Ordering::Relaxed);
    let other = CpuId((here.0 + 1) % cpu::count().max(1));
    let Some(neighbour) = per_cpu::of(other).filter(|_| other != here) else {
        return;
    };
    let due = neighbour.armed.load(Ordering::Relaxed);
    if due != 0 && due.saturating_add(interval() / 10) < now {
        cpu::kick(other);
    }
    if is_lost(cpu, neighbour) {
        log::error!("CPU {} has not come back for {PATIENCE} seconds", other.0);
        cpu::report_stuck(other);
    }
}

/// Compares what `cpu` saw of its neighbour last with what there is now.
fn is_lost(cpu: &PerCpu, neighbour: &PerCpu) -> bool {
    let entries = neighbour.entries.load(Ordering::Relaxed);
    let moved = cpu.seen.swap(entries, Ordering::Relaxed) != entries;
    if moved || neighbour.idle.load(Ordering::SeqCst) {
        cpu.unmoved.store(0, Ordering::Relaxed);
        return false;
    }
    let unmoved = cpu.unmoved.load(Ordering::Relaxed).saturating_add(1);
    cpu.unmoved.store(unmoved, Ordering::Relaxed);
    unmoved == PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::world;
    use hv_hal::fake::machine;

    /// Looks `seconds` times at CPU 1, a second apart.
    fn watch(seconds: u64) {
        let here = per_cpu::of(CpuId(0)).unwrap();
        for _ in 0..seconds {
            let now = machine::with(|m| {
                m.now += 1_000_000_000;
                m.now
            });
            look(CpuId(0), here, now);
        }
    }

    /// CPUs' data outlive a test; this one's clock does not.
    fn fresh() {
        let here = per_cpu::of(CpuId(0)).unwrap();
        here.look_at.store(0, Ordering::Relaxed);
        here.unmoved.store(0, Ordering::Relaxed);
        here.seen.store(u64::MAX, Ordering::Relaxed);
    }

    fn stuck() -> std::vec::Vec<u32> {
        machine::with(|m| m.stuck.clone())
    }

    #[test]
    fn a_cpu_that_does_not_come_back_is_reported_once() {
        let _world = world();
        fresh();
        let other = per_cpu::of(CpuId(1)).unwrap();
        other.idle.store(false, Ordering::SeqCst);
        watch(1);
        watch(u64::from(PATIENCE) - 1);
        assert_eq!(stuck(), []);
        watch(1);
        assert_eq!(stuck(), [1]);
        watch(100);
        assert_eq!(stuck(), [1]);
        other.entries.fetch_add(2, Ordering::SeqCst);
        watch(1);
    }

    #[test]
    fn one_that_is_idle_or_works_is_not() {
        let _world = world();
        fresh();
        let other = per_cpu::of(CpuId(1)).unwrap();
        other.idle.store(true, Ordering::SeqCst);
        watch(100);
        other.idle.store(false, Ordering::SeqCst);
        for _ in 0..100 {
            watch(u64::from(PATIENCE) - 1);
            other.entries.fetch_add(2, Ordering::SeqCst);
            watch(1);
        }
        assert_eq!(stuck(), []);
    }

    #[test]
    fn one_whose_timer_is_overdue_is_kicked() {
        let _world = world();
        fresh();
        let other = per_cpu::of(CpuId(1)).unwrap();
        other.idle.store(true, Ordering::SeqCst);
        let kicks = || machine::with(|m| core::mem::take(&mut m.kicks));
        other.armed.store(time::now() + 950_000_000, Ordering::Relaxed);
        watch(1);
        assert_eq!(kicks(), []);
        watch(1);
        assert_eq!(kicks(), [1]);
        other.armed.store(0, Ordering::Relaxed);
        watch(1);
        assert_eq!(kicks(), []);
    }

    #[test]
    fn looks_come_no_more_often_than_once_a_second() {
        let _world = world();
        fresh();
        let here = per_cpu::of(CpuId(0)).unwrap();
        watch(1);
        let seen = here.unmoved.load(Ordering::Relaxed);
        let now = time::now();
        (0..100).for_each(|i| look(CpuId(0), here, now + i));
        assert_eq!(here.unmoved.load(Ordering::Relaxed), seen);
        assert_eq!(next(here), now + 1_000_000_000);
    }
}
