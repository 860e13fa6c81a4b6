// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clocks of known rate that the TSC is measured against: HPET, the ACPI PM
//! timer, the 8254 interval timer. One is used, during boot.
// UNSAFETY: MMIO and port I/O to timers.
#![allow(unsafe_code)]

use super::paging;
use crate::acpi::{Machine, PmTimer};
use x86_64::instructions::port::Port;

/// Ticks of the PM timer in a second (ACPI 6.5, 4.8.2.1).
const PM_HZ: u64 = 3_579_545;
/// Ticks of the interval timer in a second.
const PIT_HZ: u64 = 1_193_182;

/// A counter that counts up and wraps.
pub(super) enum Clock {
    /// Registers mapped here; ticks in a second.
    Hpet(*mut u8, u64),
    Pm(PmTimer),
    Pit,
}

impl Clock {
    /// The best clock there is that moves.
    pub(super) fn find(machine: &Machine) -> Clock {
        let hpet = machine.hpet.and_then(hpet);
        let pm = machine.pm_timer.map(Clock::Pm);
        [hpet, pm].into_iter().flatten().find(Clock::moves).unwrap_or_else(pit)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Clock::Hpet(..) => "HPET",
            Clock::Pm(_) => "PM timer",
            Clock::Pit => "PIT",
        }
    }

    /// Ticks in a second.
    pub(super) fn hz(&self) -> u64 {
        match self {
            Clock::Hpet(_, hz) => *hz,
            Clock::Pm(_) => PM_HZ,
            Clock::Pit => PIT_HZ,
        }
    }

    /// The counter's bits.
    pub(super) fn mask(&self) -> u64 {
        match self {
            Clock::Hpet(..) | Clock::Pm(PmTimer { wide: true, .. }) => u32::MAX.into(),
            Clock::Pm(_) => (1 << 24) - 1,
            Clock::Pit => u16::MAX.into(),
        }
    }

    /// The counter now.
    pub(super) fn read(&self) -> u64 {
        match self {
            // SAFETY: mapped by `hpet`; the low half of the main counter.
            Clock::Hpet(at, _) => unsafe { at.add(0xf0).cast::<u32>().read_volatile() }.into(),
            Clock::Pm(timer) => {
                // SAFETY: reads a timer.
                let value = unsafe { Port::<u32>::new(timer.port).read() };
                u64::from(value) & self.mask()
            }
            Clock::Pit => {
                // SAFETY: latches and reads channel 2, which drives nothing
                // but the speaker.
                let (low, high): (u8, u8) = unsafe {
                    Port::<u8>::new(0x43).write(0x80);
                    let mut data = Port::new(0x42);
                    (data.read(), data.read())
                };
                // It counts down.
                u64::from(!u16::from_le_bytes([low, high]))
            }
        }
    }

    /// Its counter changes within a time in which any clock's would.
    fn moves(&self) -> bool {
        let first = self.read();
        (0..100_000).any(|_| self.read() != first)
    }
}

/// Maps and starts the HPET, if its numbers make sense (IA-PC HPET
/// specification, 2.3).
fn hpet(address: u64) -> Option<Clock> {
    let at = paging::window(address, 1024, true);
    // SAFETY: the window covers the block of registers. Starting the counter
    // disturbs nobody: no comparator is enabled by that.
    let period = unsafe {
        let period = at.add(4).cast::<u32>().read_volatile();
        let control = at.add(0x10).cast::<u32>();
        control.write_volatile(control.read_volatile() | 1);
        u64::from(period)
    };
    // In femtoseconds; at most 100 ns.
    (1..=100_000_000).contains(&period).then(|| Clock::Hpet(at, 1_000_000_000_000_000 / period))
}

/// Lets channel 2 of the interval timer run freely, speaker off.
fn pit() -> Clock {
    // SAFETY: gate on, speaker off; mode 2 from 0xffff.
    unsafe {
        let mut gate: Port<u8> = Port::new(0x61);
        let old = gate.read();
        gate.write(old & !0x02 | 0x01);
        Port::<u8>::new(0x43).write(0xb4);
        let mut data: Port<u8> = Port::new(0x42);
        data.write(0xff);
        data.write(0xff);
    }
    Clock::Pit
}
