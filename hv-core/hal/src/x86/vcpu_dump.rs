// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's registers as a few lines for the log.

use alloc::format;
use hv_abi::vcpu::VcpuContext;

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];

/// Tells them, a few to a line.
pub fn registers(c: &VcpuContext, line: &mut dyn FnMut(&str)) {
    for (names, values) in GENERAL.chunks(4).zip(c.gpr.chunks(4)) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| format!("{:>3}={:016x}", names[i], values[i]));
        line(&format!("{a} {b} {c} {d}"));
    }
    line(&format!("rip={:016x} rflags={:#x}", c.rip, c.rflags));
    line(&format!("cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x}", c.cr0, c.cr2, c.cr3, c.cr4));
    line(&format!("efer={:#x} pat={:#x} dr6={:#x} dr7={:#x}", c.efer, c.pat, c.dr6, c.dr7));
    for (name, s) in SEGMENTS.iter().zip(&c.segments) {
        line(&format!(
            "{name:>4}={:04x} base={:016x} limit={:08x} rights={:04x}",
            s.selector, s.base, s.limit, s.rights
        ));
    }
    line(&format!(
        "gdtr={:x}/{:x} idtr={:x}/{:x} xcr0={:#x}",
        c.gdtr.base, c.gdtr.limit, c.idtr.base, c.idtr.limit, c.xcr0
    ));
}
