// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exits of three guests and the control domain, as the tape says: hypercalls
//! with any arguments, MSRs, ports, CPUID, memory. Afterwards the audit finds
//! nothing and all frames are back.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|tape: &[u8]| hv_kernel::storm::replay(tape));
