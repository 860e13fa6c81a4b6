// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host-state area (SDM Vol. 3, 25.5): what an exit loads. It is the state
//! that this CPU has when it loads the vCPU; the core changes none of it
//! between. RSP and RIP are written at each entry.
// UNSAFETY: reads control registers, descriptor tables, MSRs.
#![allow(unsafe_code)]

use core::arch::asm;

use super::fields::Fields;
use crate::vendor::regs::msr;
use crate::vendor::vmx::layout::field;
use crate::x86::cpu;

/// What SGDT and SIDT store.
#[derive(Default)]
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Writes it.
pub fn write(fields: &mut Fields) {
    let (cr0, cr3, cr4): (u64, u64, u64);
    let (cs, ss, tr): (u16, u16, u16);
    let (mut gdt, mut idt) = (Pointer::default(), Pointer::default());
    // SAFETY: only reads, and stores 10 bytes in each of two structures of
    // that size.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3,
            out(reg) cr4, options(nomem, nostack, preserves_flags));
        asm!("mov {:x}, cs", "mov {:x}, ss", "str {:x}", out(reg) cs, out(reg) ss, out(reg) tr,
            options(nomem, nostack, preserves_flags));
        asm!("sgdt [{}]", "sidt [{}]", in(reg) &raw mut gdt, in(reg) &raw mut idt,
            options(nostack, preserves_flags));
    }
    fields.write(field::HOST_CR0, cr0);
    fields.write(field::HOST_CR3, cr3);
    fields.write(field::HOST_CR4, cr4);
    // ES CS SS DS FS GS. The core uses only CS and SS as segments; the others
    // may be null (27.2.3), and their bases come from fields of their own.
    for (index, selector) in [0, cs, ss, 0, 0, 0].into_iter().enumerate() {
        fields.write(field::HOST_SELECTOR + 2 * index as u32, selector.into());
    }
    fields.write(field::HOST_TR, tr.into());
    fields.write(field::HOST_TR_BASE, task_base(gdt.base, tr));
    fields.write(field::HOST_GDTR_BASE, gdt.base);
    fields.write(field::HOST_IDTR_BASE, idt.base);
    let msrs = [
        (field::HOST_FS_BASE, msr::FS_BASE),
        (field::HOST_GS_BASE, msr::GS_BASE),
        (field::HOST_PAT, msr::PAT),
        (field::HOST_EFER, msr::EFER),
        (field::HOST_SYSENTER_CS, msr::SYSENTER_CS),
        (field::HOST_SYSENTER_ESP, msr::SYSENTER_ESP),
        (field::HOST_SYSENTER_EIP, msr::SYSENTER_EIP),
    ];
    for (field, index) in msrs {
        fields.write(field, cpu::rdmsr_safe(index).unwrap_or(0));
    }
}

/// Base of the task state segment, from its descriptor (SDM Vol. 3, 8.2.3).
fn task_base(gdt: u64, selector: u16) -> u64 {
    let at = (gdt + u64::from(selector & !7)) as *const u64;
    // SAFETY: TR was loaded from this descriptor of two words, and the GDT is
    // never freed.
    let [low, high] = unsafe { [at.read_unaligned(), at.add(1).read_unaligned()] };
    low >> 16 & 0xff_ffff | low >> 32 & 0xff00_0000 | high << 32
}
