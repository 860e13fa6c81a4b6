// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each vCPU's exits: counted by cause, and the latest kept. Only the CPU
//! that runs the vCPU writes; readers take what they find, entry by entry.

use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::vcpu::{EXIT_CAUSES, ExitRecord, ExitTrace, TRACE_LEN};
use hv_hal::exit::Exit;
use hv_hal::{cpu, time};
use zerocopy::FromZeros;

/// MSR of the virtual APIC's EOI register.
const END_OF_INTERRUPT: u64 = 0x80b;

/// tsc, rip, cause << 32 | cpu, detail.
type Entry = [AtomicU64; 4];

/// The counters and the ring of one vCPU.
pub struct Trace {
    counts: [AtomicU64; EXIT_CAUSES.len()],
    total: AtomicU64,
    ring: [Entry; TRACE_LEN],
}

/// Position in `EXIT_CAUSES`, and the detail, of an exit.
fn classify(exit: &Exit) -> (usize, u64) {
    match *exit {
        Exit::Interrupt => (0, 0),
        Exit::Hypercall => (1, 0),
        Exit::Cpuid => (2, 0),
        Exit::ReadMsr(index) => (3, index.into()),
        Exit::WriteMsr(index, _) => (4, index.into()),
        // It took the place of a write to the register.
        Exit::EndOfInterrupt(_) => (4, END_OF_INTERRUPT),
        Exit::Halt => (5, 0),
        Exit::Port(access) => (
            6,
            u64::from(access.port) | u64::from(access.size) << 16 | u64::from(access.write) << 24,
        ),
        Exit::Memory(access) => (7, access.gpa),
        Exit::Window => (8, 0),
        Exit::Exception { vector, .. } => (9, vector.into()),
        Exit::Pause => (10, 0),
        Exit::Xsetbv(_, value) => (11, value),
        Exit::Nmi => (12, 0),
        Exit::Shutdown => (13, 0),
        Exit::Refused(_) | Exit::CacheFlush => (14, 0),
        Exit::Handled => (15, 0),
        Exit::Failed(_, code) | Exit::Unknown(code) => (15, code),
    }
}

impl Trace {
    /// Nothing recorded.
    pub fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; EXIT_CAUSES.len()],
            total: AtomicU64::new(0),
            ring: [const { [const { AtomicU64::new(0) }; 4] }; TRACE_LEN],
        }
    }

    /// Records an exit; `hypercall` is the number in rax for a hypercall.
    pub fn record(&self, exit: &Exit, rip: u64, hypercall: u64) {
        let (cause, detail) = classify(exit);
        let detail = if cause == 1 { hypercall } else { detail };
        if let Some(count) = self.counts.get(cause) {
            bump(count);
        }
        let total = bump(&self.total);
        if let Some(entry) = self.ring.get((total % TRACE_LEN as u64) as usize) {
            let place = (cause as u64) << 32 | u64::from(cpu::current().0);
            let values = [time::now(), rip, place, detail];
            for (slot, value) in entry.iter().zip(values) {
                slot.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Exits ever recorded.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Exits by cause.
    pub fn counts(&self) -> [u64; EXIT_CAUSES.len()] {
        core::array::from_fn(|i| {
            self.counts.get(i).map_or(0, |count| count.load(Ordering::Relaxed))
        })
    }

    /// The latest exits, oldest first.
    pub fn latest(&self) -> ExitTrace {
        let mut trace = ExitTrace::new_zeroed();
        trace.total = self.total();
        trace.count = trace.total.min(TRACE_LEN as u64);
        let first = trace.total - trace.count;
        for (at, record) in (first..trace.total).zip(trace.records.iter_mut()) {
            let Some(entry) = self.ring.get((at % TRACE_LEN as u64) as usize) else {
                continue;
            };
            let value = |i: usize| entry.get(i).map_or(0, |v| v.load(Ordering::Relaxed));
            *record = ExitRecord {
                tsc: value(0),
                rip: value(1),
                cause: (value(2) >> 32) as u32,
                cpu: value(2) as u32,
                detail: value(3),
            };
        }
        trace
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds one where there is one writer; no locked instruction is needed.
fn bump(counter: &AtomicU64) -> u64 {
    let old = counter.load(Ordering::Relaxed);
    counter.store(old.wrapping_add(1), Ordering::Relaxed);
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_latest_in_order() {
        let trace = Trace::new();
        for rip in 0..100u64 {
            trace.record(&Exit::Cpuid, rip, 0);
        }
        let latest = trace.latest();
        assert_eq!((latest.total, latest.count), (100, TRACE_LEN as u64));
        assert_eq!(latest.records[0].rip, 36);
        assert_eq!(latest.records[63].rip, 99);
        assert_eq!(trace.counts()[2], 100);
    }
}
