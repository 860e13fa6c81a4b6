// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's registers as a few lines for the log. Nothing here allocates: a
//! guest makes it happen when it likes.

use core::fmt::Arguments;
use hv_abi::vcpu::VcpuContext;

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];

/// Tells them, a few to a line.
pub fn registers(c: &VcpuContext, line: &mut dyn FnMut(Arguments<'_>)) {
    for (n, v) in GENERAL.as_chunks::<4>().0.iter().zip(c.gpr.as_chunks::<4>().0) {
        line(format_args!(
            "{:>3}={:016x} {:>3}={:016x} {:>3}={:016x} {:>3}={:016x}",
            n[0], v[0], n[1], v[1], n[2], v[2], n[3], v[3]
        ));
    }
    line(format_args!("rip={:016x} rflags={:#x}", c.rip, c.rflags));
    line(format_args!("cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x}", c.cr0, c.cr2, c.cr3, c.cr4));
    line(format_args!("efer={:#x} pat={:#x} dr6={:#x} dr7={:#x}", c.efer, c.pat, c.dr6, c.dr7));
    for (name, s) in SEGMENTS.iter().zip(&c.segments) {
        line(format_args!(
            "{name:>4}={:04x} base={:016x} limit={:08x} rights={:04x}",
            s.selector, s.base, s.limit, s.rights
        ));
    }
    line(format_args!(
        "gdtr={:x}/{:x} idtr={:x}/{:x} xcr0={:#x}",
        c.gdtr.base, c.gdtr.limit, c.idtr.base, c.idtr.limit, c.xcr0
    ));
}
