// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual local APIC, in x2APIC form (SDM Vol. 3, 11.12): registers are
//! MSRs 0x800 to 0x83f, so nothing is decoded. Pure state; what a write makes
//! others do is returned as an [`Action`].

use crate::clock::ticks_of_us;

/// The shortest period of the timer.
const PERIOD_FLOOR_US: u64 = 100;
/// MSR of the first register.
pub const MSR_FIRST: u32 = 0x800;
/// MSR of the last.
pub const MSR_LAST: u32 = 0x8ff;

/// 256 bits, one a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits256(pub [u64; 4]);

impl Bits256 {
    /// Sets a bit.
    pub fn set(&mut self, vector: u8) {
        if let Some(word) = self.0.get_mut(usize::from(vector >> 6)) {
            *word |= 1 << (vector & 63);
        }
    }

    /// Clears a bit.
    pub fn clear(&mut self, vector: u8) {
        if let Some(word) = self.0.get_mut(usize::from(vector >> 6)) {
            *word &= !(1 << (vector & 63));
        }
    }

    /// The highest bit that is set.
    pub fn highest(&self) -> Option<u8> {
        self.0
            .iter()
            .enumerate()
            .rev()
            .find(|(_, word)| **word != 0)
            .map(|(i, word)| (i as u32 * 64 + word.ilog2()) as u8)
    }

    /// Adds all bits of another.
    pub fn merge(&mut self, other: Bits256) {
        for (into, from) in self.0.iter_mut().zip(other.0) {
            *into |= from;
        }
    }

    /// 32 bits, as the APIC's registers show them.
    fn part(&self, index: u32) -> u64 {
        let word = self.0.get((index / 2) as usize).copied().unwrap_or(0);
        word >> (index % 2 * 32) & 0xffff_ffff
    }
}

/// What a register write makes the core do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing more.
    None,
    /// #GP: reserved bits, or a register that can't be written.
    Fault,
    /// The vector was acknowledged.
    Ended(u8),
    /// Send an interprocessor interrupt; the ICR's value.
    Send(u64),
    /// The task priority changed.
    Priority(u8),
}

/// Interrupt command, decoded (SDM Vol. 3, 11.12.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Vector, or the start page of a SIPI.
    pub vector: u8,
    /// 0 fixed, 1 lowest priority, 4 NMI, 5 INIT, 6 start-up.
    pub mode: u8,
    /// Destination is logical.
    pub logical: bool,
    /// 0 none, 1 self, 2 all, 3 all but self.
    pub shorthand: u8,
    /// Destination.
    pub to: u32,
    /// INIT level de-assert: ignored by every CPU since the Pentium 4.
    pub deassert: bool,
}

impl Command {
    /// Decodes the 64-bit ICR.
    pub fn decode(icr: u64) -> Self {
        Self {
            vector: icr as u8,
            mode: (icr >> 8 & 7) as u8,
            logical: icr >> 11 & 1 == 1,
            shorthand: (icr >> 18 & 3) as u8,
            to: (icr >> 32) as u32,
            deassert: icr >> 8 & 7 == 5 && icr >> 14 & 1 == 0,
        }
    }

    /// Does it go to the vCPU with this APIC id?
    pub fn reaches(&self, id: u32, sender: u32) -> bool {
        match self.shorthand {
            1 => id == sender,
            2 => true,
            3 => id != sender,
            _ if self.logical => {
                let ldr = logical_id(id);
                self.to == u32::MAX || self.to >> 16 == ldr >> 16 && self.to & ldr & 0xffff != 0
            }
            _ => self.to == u32::MAX || self.to == id,
        }
    }
}

/// Logical id that x2APIC derives from the id (SDM Vol. 3, 11.12.10.2).
fn logical_id(id: u32) -> u32 {
    id >> 4 << 16 | 1 << (id & 15)
}

const LVT_MASKED: u64 = 1 << 16;
/// Implemented bits of each LVT entry: CMCI, timer, thermal, performance,
/// LINT0, LINT1, error (SDM Vol. 3, 11.5.1).
const LVT_BITS: [u64; 7] = [0x107ff, 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff];
/// Delivery status and remote IRR: read-only, ignored when written.
const LVT_STATUS: u64 = 1 << 12 | 1 << 14;
const TIMER: usize = 1;

/// The state of one APIC.
#[derive(Clone, Debug)]
pub struct Lapic {
    id: u32,
    boot_cpu: bool,
    irr: Bits256,
    isr: Bits256,
    tmr: Bits256,
    svr: u64,
    lvt: [u64; 7],
    initial: u64,
    divide: u64,
    /// TSC at which the timer fires, 0 for never.
    deadline: u64,
    icr: u64,
}

impl Lapic {
    /// State after reset, with x2APIC mode on as the firmware would leave it.
    pub fn new(id: u32, boot_cpu: bool) -> Self {
        Self {
            id,
            boot_cpu,
            irr: Bits256::default(),
            isr: Bits256::default(),
            tmr: Bits256::default(),
            svr: 0x1ff,
            lvt: [LVT_MASKED; 7],
            initial: 0,
            divide: 0,
            deadline: 0,
            icr: 0,
        }
    }

    /// State after INIT: as after reset, but for the id.
    pub fn reset(&mut self) {
        *self = Self::new(self.id, self.boot_cpu);
    }

    /// IA32_APIC_BASE: enabled, x2APIC mode (SDM Vol. 3, 11.12.1).
    pub fn base(&self) -> u64 {
        0xfee0_0000 | 1 << 11 | 1 << 10 | u64::from(self.boot_cpu) << 8
    }

    /// Takes vectors that were posted.
    pub fn accept(&mut self, vectors: Bits256) {
        self.irr.merge(vectors);
    }

    /// Processor priority class given the task priority.
    fn class(&self, tpr: u8) -> u8 {
        let in_service = self.isr.highest().unwrap_or(0) & 0xf0;
        in_service.max(tpr & 0xf0)
    }

    /// The vector to deliver now, if its priority allows.
    pub fn deliverable(&self, tpr: u8) -> Option<u8> {
        self.irr.highest().filter(|vector| vector & 0xf0 > self.class(tpr))
    }

    /// The priority class that the task priority would have to fall below for
    /// an interrupt which nothing else holds back.
    pub fn held_back(&self, tpr: u8) -> Option<u8> {
        let vector = self.deliverable(0)?;
        (vector & 0xf0 <= tpr & 0xf0).then_some(vector >> 4)
    }

    /// Takes all pending vectors away, for a CPU that delivers them itself.
    pub fn hand_over(&mut self) -> Bits256 {
        core::mem::take(&mut self.irr)
    }

    /// The vector was put into the vCPU.
    pub fn delivered(&mut self, vector: u8) {
        self.irr.clear(vector);
        self.isr.set(vector);
    }

    /// TSC at which the timer fires, or `None`.
    pub fn deadline(&self) -> Option<u64> {
        (self.deadline != 0).then_some(self.deadline)
    }

    fn timer_mode(&self) -> u64 {
        self.timer_lvt() >> 17 & 3
    }

    fn timer_lvt(&self) -> u64 {
        self.lvt.get(TIMER).copied().unwrap_or(LVT_MASKED)
    }

    /// Ticks of the TSC in one of the timer: its clock is the TSC, divided.
    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    /// TSC ticks until the timer fires. A period has a floor: a shorter one
    /// would only let the vCPU come out before its first instruction, over
    /// and over.
    fn period(&self) -> u64 {
        let ticks = self.initial.saturating_mul(self.divisor());
        match self.timer_mode() {
            1 if ticks > 0 => ticks.max(ticks_of_us(PERIOD_FLOOR_US)),
            _ => ticks,
        }
    }

    /// Fires the timer if it is due.
    pub fn poll_timer(&mut self, now: u64) {
        if self.deadline == 0 || now < self.deadline {
            return;
        }
        let period = self.period();
        self.deadline = if self.timer_mode() == 1 && period > 0 {
            // A period that was missed altogether is not made up for.
            let late = (now - self.deadline) / period;
            self.deadline + (late + 1) * period
        } else {
            0
        };
        let lvt = self.timer_lvt();
        if lvt & LVT_MASKED == 0 && lvt as u8 >= 16 {
            self.irr.set(lvt as u8);
        }
    }

    /// IA32_TSC_DEADLINE, as it reads.
    pub fn tsc_deadline(&self) -> u64 {
        if self.timer_mode() == 2 { self.deadline } else { 0 }
    }

    /// Writes IA32_TSC_DEADLINE; ignored in the other modes (11.5.4.1).
    pub fn set_tsc_deadline(&mut self, value: u64) {
        if self.timer_mode() == 2 {
            self.deadline = value;
        }
    }

    /// Reads a register; `None` is #GP.
    pub fn read(&self, msr: u32, tpr: u8, now: u64) -> Option<u64> {
        let lvt = |i: usize| self.lvt.get(i).copied();
        match msr.wrapping_sub(MSR_FIRST) {
            0x02 => Some(self.id.into()),
            // Version 0x14, highest LVT entry 6, no EOI suppression.
            0x03 => Some(0x0006_0014),
            0x08 => Some(tpr.into()),
            0x0a => Some(self.class(tpr).into()),
            0x0d => Some(logical_id(self.id).into()),
            0x0f => Some(self.svr),
            n @ 0x10..=0x17 => Some(self.isr.part(n - 0x10)),
            n @ 0x18..=0x1f => Some(self.tmr.part(n - 0x18)),
            n @ 0x20..=0x27 => Some(self.irr.part(n - 0x20)),
            0x28 => Some(0),
            0x2f => lvt(0),
            0x30 => Some(self.icr),
            n @ 0x32..=0x37 => lvt((n - 0x31) as usize),
            0x38 => Some(self.initial),
            0x39 => Some(self.current_count(now)),
            0x3e => Some(self.divide),
            _ => None,
        }
    }

    /// Tells what a register reads as, by number and value, if it changes only
    /// when it is written.
    pub fn show(&self, msr: u32, show: &mut dyn FnMut(u32, u64)) {
        let register = msr.wrapping_sub(MSR_FIRST);
        // TPR and PPR, in service, trigger mode, requested; the running count.
        let moves = matches!(register, 0x08 | 0x0a | 0x10..=0x27 | 0x39);
        if !moves && let Some(value) = self.read(msr, 0, 0) {
            show(register, value);
        }
    }

    fn current_count(&self, now: u64) -> u64 {
        if self.timer_mode() == 2 || self.deadline <= now {
            return 0;
        }
        ((self.deadline - now) / self.divisor()).min(self.initial)
    }

    /// Writes a register.
    pub fn write(&mut self, msr: u32, value: u64, now: u64) -> Action {
        match msr.wrapping_sub(MSR_FIRST) {
            0x08 if value <= 0xff => Action::Priority(value as u8),
            0x0b if value == 0 => self.end_of_interrupt(),
            0x0f if value & !0x13ff == 0 => {
                self.svr = value;
                Action::None
            }
            0x28 if value == 0 => Action::None,
            0x2f => self.write_lvt(0, value),
            0x30 if value & 0xfff3_2000 == 0 => {
                self.icr = value;
                Action::Send(value)
            }
            n @ 0x32..=0x37 => self.write_lvt((n - 0x31) as usize, value),
            0x38 if value <= u64::from(u32::MAX) => {
                self.initial = value;
                if self.timer_mode() != 2 {
                    self.deadline = if value == 0 { 0 } else { now.saturating_add(self.period()) };
                }
                Action::None
            }
            0x3e if value & !0xb == 0 => {
                self.divide = value;
                Action::None
            }
            0x3f if value <= 0xff => {
                self.irr.set(value as u8);
                Action::None
            }
            _ => Action::Fault,
        }
    }

    fn write_lvt(&mut self, index: usize, value: u64) -> Action {
        let (Some(slot), Some(bits)) = (self.lvt.get_mut(index), LVT_BITS.get(index)) else {
            return Action::Fault;
        };
        if value & !bits & !LVT_STATUS != 0 {
            return Action::Fault;
        }
        let old_mode = *slot >> 17 & 3;
        *slot = value & !LVT_STATUS;
        if index == TIMER && (value >> 17 & 3) != old_mode {
            // Changing the mode disarms the timer (11.5.4.1).
            self.deadline = 0;
        }
        Action::None
    }

    fn end_of_interrupt(&mut self) -> Action {
        match self.isr.highest() {
            Some(vector) => {
                self.isr.clear(vector);
                Action::Ended(vector)
            }
            None => Action::None,
        }
    }
}
