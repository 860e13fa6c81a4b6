// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain is destroyed while its vCPUs are in hypercalls, yield, block or
//! release memory, again and again.

use core::sync::atomic::Ordering;

use hv_abi::Hypercall as H;
use hv_guest::hypercall::{call, gpa};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, apic, cpu, error, ok, smp};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

const SPARE: u64 = 0x400_0000;

fn busy(index: usize) {
    let mut next = SPARE + index as u64 * 4096;
    loop {
        MAIL.from[index].fetch_add(1, Ordering::SeqCst);
        let _ = match MAIL.to(0) {
            0 => call(H::Version {}),
            1 => call(H::SchedYield {}),
            2 => call(H::ConsoleWrite { gpa: gpa(&MAIL), len: 1 }),
            3 => {
                // Every other page: each vCPU has its own.
                next += 2 * 4096;
                call(H::MemoryRelease { gpa: next, pages: 1 })
            }
            _ => {
                apic::deadline(apic::SLEEP, cpu::tsc() + 1000);
                let waited = call(H::SchedBlock {});
                cpu::let_in();
                waited
            }
        };
    }
}

fn child() -> Outcome {
    if !smp::start(1, busy, 5000) {
        return Err(error!("vCPU 1 did not start"));
    }
    busy(0);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    for round in 0..15 {
        let child = Child::with(&Spec { vcpus: 2, spare: EXTENT, ..Spec::new(child) })?;
        ok!(host::populate(child.id, SPARE, EXTENT));
        child.mail()?.tell(0, round % 5);
        child.start()?;
        child.wait_for(0, 3)?;
        child.wait_for(1, 3)?;
        child.destroy()?;
    }
    Ok(())
}
