// SPDX-License-Identifier: MIT OR Apache-2.0
//! The x2APIC's registers: values after reset, which can be written, and #GP
//! for reserved bits, read-only and absent registers (SDM Vol. 3, 11.12.1).

use hv_guest::apic::msr;
use hv_guest::cpu::{self, rdmsr, try_rdmsr, try_wrmsr};
use hv_guest::{Outcome, apic, check, check_eq, ok, trap};

use crate::child;

fn child() -> Outcome {
    check_eq!(rdmsr(msr::ID), 0);
    check_eq!(rdmsr(msr::LDR), 1);
    check_eq!(rdmsr(msr::VERSION) & 0xff, 0x14);
    check_eq!(rdmsr(msr::TPR), 0);
    for (register, value) in [(msr::TPR, 0x30), (msr::SPURIOUS, 0x1fe), (msr::TIMER, 0x1_00ab)] {
        let old = rdmsr(register);
        ok!(try_wrmsr(register, value));
        check_eq!(rdmsr(register), value, "{register:#x}");
        ok!(try_wrmsr(register, old));
    }
    // Read-only, write-only, not in x2APIC mode (ICR high, DFR), beyond.
    let wrong = |r: u32, v: u64| try_wrmsr(r, v).is_err_and(|f| f.is_gp());
    for (register, value) in [
        (msr::ID, 0),
        (msr::VERSION, 0),
        (msr::LDR, 0),
        (msr::PPR, 0),
        (msr::ISR, 0),
        (msr::IRR, 0),
        (msr::CURRENT, 0),
        (msr::EOI, 1),
        (msr::TPR, 0x100),
        (msr::SPURIOUS, 1 << 16),
        (msr::ERROR, 1),
        (msr::TIMER, 1 << 20),
        (msr::DIVIDE, 0x10),
        (msr::INITIAL, 1 << 32),
        (msr::SELF_IPI, 0x100),
        (msr::COMMAND, 1 << 20),
        (0x80e, 0),
        (0x831, 0),
        (0x8ff, 0),
    ] {
        check!(wrong(register, value), "write {value:#x} to {register:#x}");
    }
    for register in [msr::EOI, msr::SELF_IPI, 0x800, 0x80c, 0x80e, 0x831, 0x840, 0x8ff] {
        let read = try_rdmsr(register);
        check!(read.is_err_and(|f| f.is_gp()), "read of {register:#x}: {read:x?}");
    }
    priority()
}

/// An interrupt waits in IRR while the task priority is as high.
fn priority() -> Outcome {
    const LOW: u8 = 0x55;
    const HIGH: u8 = 0x75;
    cpu::set_cr8(5);
    check_eq!(rdmsr(msr::TPR), 0x50, "TPR by CR8");
    cpu::sti();
    ok!(try_wrmsr(msr::SELF_IPI, u64::from(LOW)));
    ok!(try_wrmsr(msr::SELF_IPI, u64::from(HIGH)));
    check!(cpu::wait_until(1000, || trap::count(HIGH) == 1), "above the priority");
    check_eq!(trap::count(LOW), 0, "below the priority");
    let irr = rdmsr(msr::IRR + u32::from(LOW) / 32);
    check_eq!(irr, 1 << (LOW % 32), "IRR");
    ok!(try_wrmsr(msr::TPR, 0));
    check!(cpu::wait_until(1000, || trap::count(LOW) == 1), "after lowering by TPR");
    // In service: a handler sees its own bit, and a lower one waits for EOI.
    trap::on(HIGH, |_| {
        let isr = rdmsr(msr::ISR + u32::from(HIGH) / 32);
        apic::ipi(0, LOW);
        cpu::sti();
        cpu::spin_us(300);
        cpu::cli();
        assert!(isr == 1 << (HIGH % 32) && trap::count(LOW) == 1);
    });
    apic::ipi(0, HIGH);
    check!(cpu::wait_until(1000, || trap::count(LOW) == 2), "after EOI");
    check_eq!(rdmsr(msr::ISR + u32::from(HIGH) / 32), 0);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
