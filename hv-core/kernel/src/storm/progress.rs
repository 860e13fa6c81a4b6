// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a round of the storm still moves. How fast the CPUs' threads run is
//! the host's affair, so nothing here is counted in one thread's turns alone:
//! a round is stuck when *every* CPU has had [`PATIENCE`] idle turns since the
//! last exit, or when no exit was made for [`LIMIT`], which is for a CPU that
//! does not come back to its loop. [`report`] says what everybody does.

use super::CPUS;
use crate::domain::table;
use crate::per_cpu;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_hal::addr::CpuId;
use std::string::String;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Turns of each CPU without an exit on any. Whatever can wake a vCPU from
/// outside happens many times within so many.
const PATIENCE: u64 = 100_000;
/// Time without an exit.
const LIMIT: Duration = Duration::from_secs(240);

/// What the CPUs of a round have done since the last exit.
pub struct Progress {
    /// Exits made when somebody looked last.
    made: AtomicU64,
    since: Mutex<Instant>,
    turns: [AtomicU64; CPUS as usize],
}

impl Progress {
    /// A round begins.
    pub fn new() -> Self {
        Self {
            made: AtomicU64::new(0),
            since: Mutex::new(Instant::now()),
            turns: [const { AtomicU64::new(0) }; CPUS as usize],
        }
    }

    /// One turn of a CPU, when so many exits were made; panics when the round
    /// is stuck.
    pub fn turn(&self, cpu: u32, made: u64, seed: u64) {
        if self.made.swap(made, Ordering::SeqCst) != made {
            self.turns.iter().for_each(|turns| turns.store(0, Ordering::SeqCst));
            if let Ok(mut since) = self.since.lock() {
                *since = Instant::now();
            }
            return;
        }
        let turns = self.turns[cpu as usize].fetch_add(1, Ordering::SeqCst) + 1;
        if turns.is_multiple_of(256) {
            // Another CPU's thread may be what this one waits for.
            std::thread::yield_now();
        }
        let all = || self.turns.iter().all(|turns| turns.load(Ordering::SeqCst) >= PATIENCE);
        let late = || self.since.lock().is_ok_and(|since| since.elapsed() > LIMIT);
        let stuck = turns >= PATIENCE && (all() || turns.is_multiple_of(1024) && late());
        assert!(!stuck, "seed {seed:#x}: stuck after {made} exits\n{}", report());
    }
}

/// What every vCPU and every CPU does.
fn report() -> String {
    let mut text = String::new();
    // Text never fails.
    let _ = write(&mut text);
    text
}

fn write(text: &mut String) -> core::fmt::Result {
    let mut result = Ok(());
    table::each(&mut |domain| {
        result = result.and_then(|()| {
            let (pauses, stop) = (domain.pauses.load(Ordering::SeqCst), domain.stopped.try_lock());
            let stop = stop.and_then(|stop| *stop);
            let dying = domain.is_dying();
            writeln!(text, "d{}: {pauses} pauses, dying {dying}, stopped {stop:?}", domain.id)?;
            domain.vcpus.iter().try_for_each(|vcpu| {
                let signals = vcpu.signals.load(Ordering::SeqCst);
                let wake_at = vcpu.wake_at.load(Ordering::SeqCst);
                write!(
                    text,
                    "  vCPU {}: state {}, CPU {}, signals {signals:#x}, news {}, wakes at {wake_at:#x}, ",
                    vcpu.index,
                    vcpu.state(),
                    vcpu.last_cpu().0,
                    vcpu.has_news(),
                )?;
                match vcpu.try_core().as_deref() {
                    None => writeln!(text, "a CPU has it"),
                    Some(None) => writeln!(text, "released"),
                    Some(Some(core)) => writeln!(
                        text,
                        "halted {} (any {}, until {:#x}), offline {}, TPR {:#x}, flags {:#x}, pending {}",
                        core.halted,
                        core.waits_for_any,
                        core.wait_until,
                        core.waits_for_sipi,
                        core.hw.tpr(),
                        core.hw.rflags(),
                        core.hw.pending(),
                    ),
                }
            })
        });
    });
    for (id, cpu) in (0..CPUS).filter_map(|id| Some((id, per_cpu::of(CpuId(id))?))) {
        let (ready, entries) = (&cpu.ready, &cpu.entries);
        let (ready, entries) = (ready.load(Ordering::SeqCst), entries.load(Ordering::SeqCst));
        writeln!(text, "CPU {id}: {ready} ready, {entries} entries and exits")?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn one_cpu_that_turns_alone_is_not_stuck() {
        let progress = Progress::new();
        (0..2 * PATIENCE).for_each(|_| progress.turn(0, 7, 1));
    }

    #[test]
    fn all_that_turn_for_nothing_are_stuck_and_an_exit_ends_that() {
        let _world = crate::testing::world();
        let progress = Progress::new();
        let both = |turns: u64, made| {
            (0..turns).for_each(|_| (0..CPUS).for_each(|cpu| progress.turn(cpu, made, 1)));
        };
        both(PATIENCE - 1, 7);
        both(PATIENCE - 1, 8);
        assert!(catch_unwind(|| both(2, 8)).is_err());
    }
}
