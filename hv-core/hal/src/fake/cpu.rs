// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs of the scripted machine: a test plays one at a time.

use super::machine::with;
use crate::addr::CpuId;

/// The CPU the test plays.
pub fn current() -> CpuId {
    CpuId(with(|m| m.current))
}

/// CPUs there are.
pub fn count() -> u32 {
    with(|m| m.cpus)
}

/// APIC id of a CPU.
pub fn apic_id(cpu: CpuId) -> u32 {
    cpu.0
}

/// Notes that the CPU was kicked.
pub fn kick(cpu: CpuId) {
    with(|m| m.kicks.push(cpu.0));
}

/// Notes that the CPU was poked.
pub fn poke(cpu: CpuId) {
    with(|m| m.pokes.push(cpu.0));
}

/// Notes that the CPU was reported.
pub fn report_stuck(cpu: CpuId) {
    with(|m| m.stuck.push(cpu.0));
}

/// The longest that an idle CPU sleeps, in ticks: an hour. A deadline in a
/// thousand years would end the clock.
const LONGEST_IDLE: u64 = 3_600_000_000_000;

/// Lets the clock pass to the armed deadline.
pub fn idle() {
    with(|m| {
        m.idles += 1;
        if let Some(deadline) = m.armed.take() {
            m.now = m.now.max(deadline.min(m.now + LONGEST_IDLE));
        }
    });
}

/// What the test put in, or zeros.
pub fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    with(|m| m.cpuid.iter().find(|row| row.0 == leaf && row.1 == sub).map_or([0; 4], |row| row.2))
}

/// No register can be read.
pub fn rdmsr_safe(_index: u32) -> Option<u64> {
    None
}

/// Lets others go on while waiting for them.
pub fn relax() {
    core::hint::spin_loop();
}

/// Ends the test.
pub fn halt_all() -> ! {
    panic!("the core halted all CPUs");
}
