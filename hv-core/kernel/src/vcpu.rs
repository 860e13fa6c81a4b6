// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU: what only the CPU that runs it touches ([`Core`], behind a lock
//! that is held while it runs), and what others may post to it.

use crate::event::Ring;
use crate::lapic::{self, Bits256, Lapic};
use crate::trace::Trace;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use hv_abi::event::PRIORITIES;
use hv_abi::vcpu::run_state;
use hv_abi::{DOM_CONTROL, DomainId};
use hv_hal::addr::CpuId;
use hv_hal::assist::Assist;
use hv_hal::cpu;
use hv_hal::exit::Role;
use hv_hal::mailbox::Mailbox;
use hv_hal::stage2::{Stage2, TableFrames};
use hv_hal::vcpu::HwVcpu;
use spin::{Mutex, Once};

/// The state of a vCPU that its CPU alone works on.
pub struct Core {
    /// Registers and the hardware's structures.
    pub hw: HwVcpu,
    /// Its local APIC.
    pub lapic: Lapic,
    /// It executed HLT and no interrupt ended it yet.
    pub halted: bool,
    /// While `halted`: an interrupt ends it even with IF clear.
    pub waits_for_any: bool,
    /// While `halted`: the TSC at which it goes on anyway.
    pub wait_until: u64,
    /// It is offline: it had INIT and waits for SIPI, or was taken off.
    pub waits_for_sipi: bool,
    /// Translations older than this flush generation may be cached.
    pub flushed: u64,
    /// What the CPU does of `lapic`.
    pub assist: Assist,
}

impl Core {
    /// There is an interrupt that its priority lets through.
    pub fn is_due(&self) -> bool {
        if self.assist.delivery {
            self.hw.wakes()
        } else {
            self.lapic.deliverable(self.hw.tpr()).is_some()
        }
    }

    /// Makes the guest read what a register now holds; see
    /// [`HwVcpu::show`].
    pub fn show(&mut self, msr: u32) {
        if self.assist.registers {
            self.lapic.show(msr, &mut |register, value| self.hw.show(register, value));
        }
    }

    /// State after INIT.
    pub fn reset(&mut self) {
        self.hw.reset();
        self.lapic.reset();
        self.show_all();
    }

    /// Shows every register.
    fn show_all(&mut self) {
        for msr in lapic::MSR_FIRST..=lapic::MSR_LAST {
            self.show(msr);
        }
    }
}

/// Bits of [`Vcpu::signals`]: INIT, NMI, SIPI with its vector in bits 15:8.
pub mod signal {
    /// INIT.
    pub const INIT: u32 = 1 << 0;
    /// NMI.
    pub const NMI: u32 = 1 << 1;
    /// SIPI; its vector is in bits 15:8.
    pub const SIPI: u32 = 1 << 2;
    /// VcpuStart.
    pub const START: u32 = 1 << 3;
    /// VcpuStop.
    pub const STOP: u32 = 1 << 4;
    /// A port it polls may be pending.
    pub const POLL: u32 = 1 << 5;
    /// Position of the SIPI vector.
    pub const SIPI_SHIFT: u32 = 8;
}

/// Times in TSC ticks.
#[derive(Default)]
pub struct Times {
    /// On a CPU.
    pub run: AtomicU64,
    /// Ready but not on a CPU.
    pub wait: AtomicU64,
    /// When its state changed last.
    pub since: AtomicU64,
}

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// A vCPU.
pub struct Vcpu {
    /// Its domain's number.
    pub domain: DomainId,
    /// Its position in the domain.
    pub index: u32,
    /// Its APIC id.
    pub apic_id: u32,
    core: Mutex<Option<Core>>,
    /// Interrupt vectors for it that its APIC has not taken yet.
    pub posted: Mailbox,
    /// Vectors whose physical interrupt is level-triggered and unacknowledged.
    pub level: [AtomicU64; 4],
    /// INIT, SIPI, NMI for it.
    pub signals: AtomicU32,
    /// Vector of event upcalls, 0 for none yet.
    pub upcall: AtomicU8,
    /// Its event rings.
    pub rings: [Once<Ring>; PRIORITIES],
    state: AtomicU32,
    cpu: AtomicU32,
    /// CPUs it may run on.
    pub affinity: AtomicU64,
    /// CPUs it should run on, of those.
    pub affinity_soft: AtomicU64,
    /// It waits in SchedPoll; its domain's `pollers` counts it.
    pub polling: AtomicBool,
    /// Weighted time it ran, on the scale of its CPU's queue.
    pub vruntime: AtomicU64,
    /// While blocked: TSC at which its timer wakes it.
    pub wake_at: AtomicU64,
    /// Account.
    pub times: Times,
    /// Exits.
    pub trace: Trace,
}

impl Vcpu {
    /// An offline vCPU; `None` without memory for its hardware pages.
    pub fn new(role: Role, domain: DomainId, index: u32, stage2: &Stage2) -> Option<Self> {
        let mut tables = crate::memory::TablesOf(domain);
        let hw = HwVcpu::new(role, stage2, &mut tables)?;
        let assist = hv_hal::vcpu::assist();
        let (apic_id, affinity) = if domain == DOM_CONTROL {
            (cpu::apic_id(CpuId(index)), 1u64 << (index & 63))
        } else {
            (index, u64::MAX)
        };
        let mut core = Core {
            hw,
            lapic: Lapic::new(apic_id, index == 0),
            halted: false,
            waits_for_any: false,
            wait_until: NEVER,
            waits_for_sipi: true,
            flushed: 0,
            assist,
        };
        core.show_all();
        Some(Self {
            domain,
            index,
            apic_id,
            core: Mutex::new(Some(core)),
            posted: Mailbox::new(),
            level: [const { AtomicU64::new(0) }; 4],
            signals: AtomicU32::new(0),
            upcall: AtomicU8::new(0),
            rings: [const { Once::new() }; PRIORITIES],
            state: AtomicU32::new(run_state::OFFLINE),
            cpu: AtomicU32::new(if domain == DOM_CONTROL { index } else { 0 }),
            affinity: AtomicU64::new(affinity),
            affinity_soft: AtomicU64::new(u64::MAX),
            polling: AtomicBool::new(false),
            vruntime: AtomicU64::new(0),
            wake_at: AtomicU64::new(NEVER),
            times: Times::default(),
            trace: Trace::new(),
        })
    }

    /// Gives the hardware pages back. The vCPU must not run any more.
    pub fn release(&self, frames: &mut dyn TableFrames) {
        if let Some(mut core) = self.core.lock().take() {
            core.hw.release(frames);
        }
    }

    /// Its hardware pages are gone.
    pub fn is_released(&self) -> bool {
        self.core.try_lock().is_some_and(|core| core.is_none())
    }

    /// Its inner state, for the CPU that runs it; for others only while it
    /// does not run. `None` once released.
    pub fn core(&self) -> spin::MutexGuard<'_, Option<Core>> {
        self.core.lock()
    }

    /// Its inner state, unless a CPU has it right now.
    pub fn try_core(&self) -> Option<spin::MutexGuard<'_, Option<Core>>> {
        self.core.try_lock()
    }

    /// One of `hv_abi::vcpu::run_state`.
    pub fn state(&self) -> u32 {
        self.state.load(Ordering::SeqCst)
    }

    /// Changes the state; only its CPU or its scheduler does.
    pub fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::SeqCst);
    }

    /// Changes the state if it is `from`; the one who succeeds acts on it.
    pub fn change_state(&self, from: u32, to: u32) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The CPU it is on, if it is on one.
    pub fn running_on(&self) -> Option<CpuId> {
        (self.state() == run_state::RUNNING).then(|| self.last_cpu())
    }

    /// The CPU it is on or was on last.
    pub fn last_cpu(&self) -> CpuId {
        CpuId(self.cpu.load(Ordering::SeqCst))
    }

    /// Notes the CPU, before the state says that it runs.
    pub fn set_cpu(&self, cpu: CpuId) {
        self.cpu.store(cpu.0, Ordering::SeqCst);
    }

    /// It waits for an interrupt.
    pub fn is_blocked(&self) -> bool {
        self.state() == run_state::BLOCKED
    }

    /// It waits for SIPI.
    pub fn is_offline(&self) -> bool {
        self.state() == run_state::OFFLINE
    }

    /// Posts an interrupt; the caller then notifies the scheduler. True when
    /// it was not posted already.
    pub fn post(&self, vector: u8) -> bool {
        self.posted.post(vector)
    }

    /// Vectors whose end the hardware's interrupt controller waits for.
    pub fn levels(&self) -> [u64; 4] {
        core::array::from_fn(|i| self.level.get(i).map_or(0, |w| w.load(Ordering::SeqCst)))
    }

    /// Marks a vector as level-triggered until it is acknowledged.
    pub fn mark_level(&self, vector: u8) {
        if let Some(word) = self.level.get(usize::from(vector >> 6)) {
            word.fetch_or(1 << (vector & 63), Ordering::SeqCst);
        }
    }

    /// Takes the mark back; true when there was one.
    pub fn take_level(&self, vector: u8) -> bool {
        let bit = 1u64 << (vector & 63);
        self.level
            .get(usize::from(vector >> 6))
            .is_some_and(|word| word.fetch_and(!bit, Ordering::SeqCst) & bit != 0)
    }

    /// Takes all posted vectors.
    pub fn take_posted(&self) -> Bits256 {
        Bits256(self.posted.take())
    }

    /// Something was posted or signalled.
    pub fn has_news(&self) -> bool {
        self.signals.load(Ordering::SeqCst) != 0 || !self.posted.is_empty()
    }
}
