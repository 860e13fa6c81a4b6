// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random MSRs, ports and CPUID leaves, read and written by a guest: each
//! works or faults; nothing stops the guest or the core.

use hv_guest::cpu::{cpuid, port_in, port_out, try_rdmsr, try_wrmsr, tsc};
use hv_guest::{Outcome, check};

use crate::child;

/// What the guest itself needs: not to be written at random.
fn precious(index: u32) -> bool {
    // GS base, EFER, the APIC (interrupts to itself), TSC deadline.
    matches!(index, 0xc000_0101 | 0xc000_0080 | 0x1b | 0x800..=0x8ff | 0x6e0)
}

fn child() -> Outcome {
    let mut seed = tsc() | 1;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..3000 {
        let r = random();
        let base = [0, 0x170, 0x200, 0x400, 0x480, 0x800, 0x4000_0000, 0xc000_0080, 0xc001_0000];
        let index = match r >> 60 {
            0 => r as u32,
            n => base[n as usize % base.len()] + (r as u32 & 0x1ff),
        };
        if let Err(fault) = try_rdmsr(index) {
            check!(fault.is_gp(), "reading {index:#x}: {fault:?}");
        }
        if !precious(index)
            && let Err(fault) = try_wrmsr(index, random())
        {
            check!(fault.is_gp(), "writing {index:#x}: {fault:?}");
        }
        let (port, size) = (r as u16, 1 << (r >> 20 & 3).min(2));
        port_out(port, size, r as u32);
        let ones = u64::MAX >> (64 - 8 * u32::from(size));
        check!(port_in(port, size, 0) == ones, "port {port:#x}");
        cpuid(random() as u32 & 0xc000_00ff, random() as u32 & 0xf);
    }
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
