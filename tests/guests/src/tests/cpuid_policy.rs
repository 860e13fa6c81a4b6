// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID: the core's own leaves tell the truth, what a guest can't use is
//! hidden, OSXSAVE follows CR4, and the APIC id is the vCPU's.

use hv_abi::cpuid::{
    LEAF_BASE, LEAF_FEATURES, LEAF_LAST, LEAF_START_INFO, LEAF_TIMING, SIGNATURE, features,
};
use hv_guest::cpu::cpuid;
use hv_guest::{Outcome, check, check_eq, cpu, start};

use crate::child;

fn child() -> Outcome {
    let [last, b, c, d] = cpuid(LEAF_BASE, 0);
    check_eq!(last, LEAF_LAST);
    let mut text = [0u8; 12];
    for (to, from) in text.iter_mut().zip([b, c, d].iter().flat_map(|r| r.to_le_bytes())) {
        *to = from;
    }
    check_eq!(text, SIGNATURE);
    let [version, bits, domain, vcpus] = cpuid(LEAF_FEATURES, 0);
    check_eq!(version, hv_abi::ABI_VERSION);
    check_eq!(bits & features::CONTROL != 0, start::is_runner());
    check_eq!(domain == 0, start::is_runner());
    if !start::is_runner() {
        check_eq!(vcpus, 1);
        check_eq!(cpuid(LEAF_START_INFO, 0), [0; 4]);
    }
    check!(cpuid(LEAF_TIMING, 0)[0] > 10_000);
    check_eq!(cpuid(LEAF_LAST + 1, 0), [0; 4]);

    let [_, _, c, d] = cpuid(1, 0);
    // MONITOR, VMX, SMX, PDCM, DCA, OSXSAVE are not there; x2APIC, TSC
    // deadline, hypervisor are.
    for bit in [3, 5, 6, 15, 18, 27] {
        check_eq!(c >> bit & 1, 0, "leaf 1 ecx bit {bit}");
    }
    for bit in [21, 24, 31] {
        check_eq!(c >> bit & 1, 1, "leaf 1 ecx bit {bit}");
    }
    // Debug store, thermal monitor.
    for bit in [21, 22, 29] {
        check_eq!(d >> bit & 1, 0, "leaf 1 edx bit {bit}");
    }
    // SVM, IBS, watchdog, performance counters, MWAITX.
    let [_, _, c, _] = cpuid(0x8000_0001, 0);
    for bit in [2, 10, 12, 13, 15, 23, 24, 29] {
        check_eq!(c >> bit & 1, 0, "leaf 0x80000001 ecx bit {bit}");
    }
    for leaf in [5, 0xa, 0xf, 0x10, 0x12, 0x14, 0x8000_000a, 0x8000_001b, 0x8000_001f] {
        check_eq!(cpuid(leaf, 0), [0; 4], "leaf {leaf:#x}");
    }
    if c_has_xsave() {
        cpu::set_cr4(cpu::cr4() | 1 << 18);
        check_eq!(cpuid(1, 0)[2] >> 27 & 1, 1, "OSXSAVE with CR4.OSXSAVE");
        cpu::set_cr4(cpu::cr4() & !(1 << 18));
        check_eq!(cpuid(1, 0)[2] >> 27 & 1, 0, "OSXSAVE without CR4.OSXSAVE");
    }
    if !start::is_runner() {
        check_eq!(cpuid(1, 0)[1] >> 24, 0, "APIC id");
    }
    Ok(())
}

fn c_has_xsave() -> bool {
    cpuid(1, 0)[2] >> 26 & 1 == 1
}

/// The runner's part.
pub fn run() -> Outcome {
    child()?;
    child::run(child)
}
