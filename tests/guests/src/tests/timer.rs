// SPDX-License-Identifier: MIT OR Apache-2.0
//! The APIC timer in its three modes: TSC deadline (also one in the past),
//! one-shot with divider, periodic; masked it stays silent.

use hv_guest::apic::{self, msr};
use hv_guest::cpu::{self, tsc, wait_until, wrmsr};
use hv_guest::{Outcome, check, check_eq, trap};

use crate::child;

const VECTOR: u8 = 0x70;

fn came(count: u64) -> bool {
    wait_until(3000, || trap::count(VECTOR) >= count)
}

fn deadline() -> Outcome {
    for (n, us) in [(1, 0), (2, 300), (3, 2000)] {
        let at = tsc() + us * cpu::khz() / 1000;
        apic::deadline(VECTOR, at);
        check!(came(n), "deadline {us} us ahead");
        check!(tsc() >= at, "too early");
        check_eq!(cpu::rdmsr(msr::DEADLINE), 0, "deadline after it fired");
    }
    apic::deadline(VECTOR, 1);
    check!(came(4), "a deadline long past");
    apic::deadline(VECTOR, tsc() + 500 * cpu::khz());
    check!(cpu::rdmsr(msr::DEADLINE) != 0);
    wrmsr(msr::DEADLINE, 0);
    check_eq!(cpu::rdmsr(msr::DEADLINE), 0, "deadline after disarming");
    Ok(())
}

fn counting() -> Outcome {
    // Divide by 1, by 16.
    for (code, divisor) in [(0b1011, 1), (0b0011, 16)] {
        let before = trap::count(VECTOR);
        wrmsr(msr::TIMER, u64::from(VECTOR));
        wrmsr(msr::DIVIDE, code);
        let start = tsc();
        let ticks = (2 * cpu::khz() / divisor).min(u64::from(u32::MAX));
        wrmsr(msr::INITIAL, ticks);
        check!(cpu::rdmsr(msr::CURRENT) <= ticks);
        check!(came(before + 1), "one-shot, divided by {divisor}");
        check!(tsc() - start >= ticks * divisor, "one-shot came too early");
        check_eq!(cpu::rdmsr(msr::CURRENT), 0);
        cpu::spin_us(3000);
        check_eq!(trap::count(VECTOR), before + 1, "one-shot came twice");
    }
    Ok(())
}

fn periodic() -> Outcome {
    let before = trap::count(VECTOR);
    wrmsr(msr::DIVIDE, 0b1011);
    wrmsr(msr::TIMER, apic::PERIODIC | u64::from(VECTOR));
    wrmsr(msr::INITIAL, cpu::khz().min(u64::from(u32::MAX)));
    check!(came(before + 5), "periodic, 5 times");
    wrmsr(msr::INITIAL, 0);
    let stood = trap::count(VECTOR);
    cpu::spin_us(4000);
    check!(trap::count(VECTOR) <= stood + 1, "periodic goes on after it was stopped");
    Ok(())
}

fn masked() -> Outcome {
    let before = trap::count(VECTOR);
    wrmsr(msr::TIMER, apic::MASKED | apic::TSC_DEADLINE | u64::from(VECTOR));
    wrmsr(msr::DEADLINE, tsc() + 10);
    cpu::spin_us(1000);
    check_eq!(trap::count(VECTOR), before, "masked");
    Ok(())
}

fn child() -> Outcome {
    cpu::sti();
    deadline()?;
    counting()?;
    periodic()?;
    masked()
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
