// SPDX-License-Identifier: MIT OR Apache-2.0
//! Four vCPUs start by INIT and start-up IPI; interrupts between them arrive
//! in both directions, singly, to all others and to all.

use hv_guest::apic::{self, kind};
use hv_guest::{Outcome, check, check_eq, cpu, failure, smp, trap};

use crate::child;

const VCPUS: usize = 4;
const DOWN: u8 = 0x50;
const UP: u8 = 0x51;
const OTHERS: u8 = 0x52;
const ALL: u8 = 0x53;

fn further(index: usize) {
    trap::on(DOWN, |_| apic::ipi(0, UP));
    assert_eq!(apic::id() as usize, index);
    loop {
        cpu::sti_hlt();
    }
}

fn wait_count(vector: u8, count: u64) -> Outcome {
    let end = cpu::tsc() + 5000 * cpu::khz();
    while trap::count(vector) < count {
        if cpu::tsc() > end {
            let got = trap::count(vector);
            return Err(failure!("vector {vector:#x} came {got} times, not {count}"));
        }
        core::hint::spin_loop();
    }
    Ok(())
}

fn child() -> Outcome {
    check_eq!(apic::id(), 0);
    for index in 1..VCPUS {
        check!(smp::start(index, further, 5000), "vCPU {index} did not start");
    }
    cpu::sti();
    for round in 0..20 {
        for index in 1..VCPUS {
            apic::ipi(index as u32, DOWN);
            wait_count(UP, (round * (VCPUS - 1) + index) as u64)?;
        }
    }
    apic::send(0, kind::TO_OTHERS | u64::from(OTHERS));
    wait_count(OTHERS, VCPUS as u64 - 1)?;
    apic::send(0, kind::TO_ALL | u64::from(ALL));
    wait_count(ALL, VCPUS as u64)?;
    apic::send(0, kind::TO_SELF | u64::from(ALL));
    wait_count(ALL, VCPUS as u64 + 1)?;
    // Nobody has this id.
    apic::ipi(77, ALL);
    cpu::spin_us(500);
    check_eq!(trap::count(ALL), VCPUS as u64 + 1);
    check_eq!(trap::count(OTHERS), VCPUS as u64 - 1);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run_smp(VCPUS as u32, child)
}
