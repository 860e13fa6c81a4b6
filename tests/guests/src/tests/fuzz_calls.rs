// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random hypercalls from two vCPUs of a guest at once: numbers, addresses
//! and counts in and around what is valid. The core answers each with a
//! status it knows; the host's counters and audit stay right.

use hv_abi::{HYPERCALLS, Status};
use hv_guest::hypercall::{call, raw};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, cpu, event, failure, ok, smp};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

/// Memory that may be lost: the core may write or take it.
const SCRATCH: u64 = 0x400_0000;
const CALLS: u64 = 20_000;

struct Random(u64);

impl Random {
    /// Xorshift (Marsaglia).
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn argument(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4),
            1 => self.below(1100),
            2 => 1 << self.below(64),
            3 => (1 << self.below(64)) - 1,
            4 => self.next(),
            5 => SCRATCH + self.below(EXTENT) * 4096,
            6 => SCRATCH + self.below(EXTENT * 4096 + 100),
            _ => hv_abi::DOM_SELF,
        }
    }
}

/// What would stop the guest, or hold it up for good.
fn unwanted(number: u64, args: &[u64; 5]) -> bool {
    let outside = !(SCRATCH..SCRATCH + EXTENT * 4096).contains(&args[0]);
    let ring_outside = !(SCRATCH..SCRATCH + EXTENT * 4096).contains(&args[2]);
    match number {
        // Memory below is the image.
        81 | 16 => outside && args[0] < SCRATCH,
        17 => ring_outside && args[2] < SCRATCH,
        // Writes an answer.
        27 => args[2] < SCRATCH,
        54 | 86 | 116 => args[2] < SCRATCH,
        68 | 73 => args[1] < SCRATCH,
        // Zeroes a table, writes statuses.
        112..=115 => outside && args[0] < SCRATCH,
        // SchedBlock, SchedShutdown, NotifyAndBlock, SchedPoll, SchedWatchdog,
        // VcpuStop.
        33..=37 | 53 => true,
        _ => false,
    }
}

fn storm(index: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ MAIL.to(0) ^ (index as u64) << 32);
    let mut bad = 0;
    for _ in 0..CALLS {
        let number = match random.below(10) {
            0 => random.argument(),
            _ => u64::from(HYPERCALLS[random.below(HYPERCALLS.len() as u64) as usize].number),
        };
        let args = [0; 5].map(|_: u64| random.argument());
        if unwanted(number, &args) {
            continue;
        }
        let (status, _) = raw(number, args);
        if Status::from_code(status).is_none() {
            bad += 1;
            MAIL.answer(4, number);
            MAIL.answer(5, status);
        }
    }
    MAIL.answer(index, 1 + bad);
}

fn child() -> Outcome {
    ok!(call(hv_abi::Hypercall::EventWords { gpa: event::words(), log2_ports: 10 }));
    check!(smp::start(1, storm, 5000));
    storm(0);
    check!(cpu::wait_until(60_000, || MAIL.from(1) != 0), "vCPU 1 hangs");
    if MAIL.from(0) + MAIL.from(1) != 2 {
        return Err(failure!("call {:#x} answered {:#x}", MAIL.from(4), MAIL.from(5)));
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { vcpus: 2, spare: EXTENT, ..Spec::new(child) })?;
    ok!(host::populate(child.id, SCRATCH, EXTENT));
    child.mail()?.tell(0, cpu::tsc());
    child.start()?;
    child.finish()?;
    child.destroy()
}
