// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that a core must have an answer for: those of both vendors'
//! virtualization, those that a domain may not make, those that exit.

use core::arch::asm;

use hv_guest::trap::{catch, vector};

use super::{Tape, bad};

/// Runs literal instructions with these registers; what they change is the
/// program's own, and a fault ends them.
macro_rules! run {
    ($a:expr, $c:expr, $d:expr; $($text:literal),+) => {{
        let (a, c, d) = ($a, $c, $d);
        // SAFETY: rax, rcx and rdx are named; memory is touched only through
        // rdx, which points into scratch memory.
        catch(|| unsafe {
            asm!($($text),+, inout("rax") a => _, inout("rcx") c => _, inout("rdx") d => _);
        })
    }};
}

/// One of them.
pub fn one(tape: &mut Tape) {
    let (a, c) = (tape.value(), tape.value());
    let d = tape.memory().min(super::LOSABLE - 0x1000) & !0x3f;
    let which = tape.below(38);
    let result = match which {
        0 => run!(a, c, d; "vmrun rax"),
        1 => run!(a, c, d; "vmload rax"),
        2 => run!(a, c, d; "vmsave rax"),
        3 => run!(a, c, d; "clgi"),
        4 => run!(a, c, d; "stgi"),
        5 => run!(a, c, d; "skinit eax"),
        6 => run!(a, c, d; ".byte 0x0f, 0x01, 0xdf"), // INVLPGA
        7 => run!(u64::MAX, c, d; "vmcall"),
        8 => run!(u64::MAX, c, d; "vmmcall"),
        9 => run!(a, c, d; "vmlaunch"),
        10 => run!(a, c, d; "vmresume"),
        11 => run!(a, c, d; "vmxoff"),
        12 => run!(a, c, d; "vmxon [rdx]"),
        13 => run!(a, c, d; "vmclear [rdx]"),
        14 => run!(a, c, d; "vmptrld [rdx]"),
        15 => run!(a, c, d; "vmread rax, rcx"),
        16 => run!(a, c, d; "vmwrite rax, rcx"),
        17 => run!(a, c, d; "invept rax, [rdx]"),
        18 => run!(a, c, d; "invvpid rax, [rdx]"),
        19 => run!(d, c, 0u64; "monitor"),
        20 => run!(a, c, d; "mwait"),
        21 => run!(a, c, d; "rdpmc"),
        22 => run!(a, c, d; "rdtscp"),
        23 => run!(a, c, d; "rdtsc"),
        24 => run!(a, c, d; "invlpg [rax]"),
        25 => run!(a, c, d; "wbinvd"),
        26 => run!(a, c, d; "invd"),
        27 => run!(a, c, d; "pause"),
        28 => run!(a, c, d; ".byte 0x0f, 0xaa"), // RSM
        29 => run!(a, c, d; ".byte 0x0f, 0x37"), // GETSEC
        30 => run!(a, c, d; "lmsw ax", "clts"),
        31 => run!(a, c, d; "sgdt [rdx]", "sidt [rdx]", "sldt eax", "str ecx", "smsw eax"),
        32 => run!(a, c, d; "int3"),
        33 => run!(a, c, d; ".byte 0xf1"), // INT1
        34 => run!(a, c, d; "int 0x90"),
        35 => run!(a & 7, c, d; "invpcid rax, [rdx]"),
        36 => run!(a, c, d; "xgetbv"),
        // A single step, which the handler ends.
        _ => run!(a, c, d; "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop"),
    };
    if let Err(fault) = result {
        let known = [
            vector::BREAKPOINT,
            vector::INVALID_OPCODE,
            vector::GENERAL_PROTECTION,
            vector::PAGE_FAULT,
        ];
        if !known.contains(&fault.vector) {
            bad(16, which, fault.vector.into());
        }
    }
    // VMX' and SVM's instructions do not exist in a domain.
    let hidden = matches!(which, 0..=5 | 9..=14 | 17..=20);
    if hidden && result.is_ok() {
        bad(17, which, 0);
    }
}
