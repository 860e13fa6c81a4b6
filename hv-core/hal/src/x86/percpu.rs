// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each CPU has of its own. [`here`] finds it through the GS base, which
//! points at it from the first instructions of Rust on; there is no user mode
//! in the core and so never a SWAPGS.
//!
//! Other CPUs may look at it as well, so everything that changes is atomic.
//! What only its own CPU writes needs no more than relaxed ordering.
// UNSAFETY: the GS base, and references made from the pointers kept here.
#![allow(unsafe_code)]

use super::desc::Descriptors;
use crate::addr::CpuId;
use alloc::boxed::Box;
use core::arch::asm;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;

/// CPUs the core can run on.
pub(crate) const MAX_CPUS: usize = 256;

/// A set of vectors.
pub(super) type VectorSet = [AtomicU64; 4];

fn empty() -> VectorSet {
    [const { AtomicU64::new(0) }; 4]
}

/// One CPU's own data.
#[repr(C)]
pub(super) struct PerCpu {
    /// Its own address, at offset 0.
    this: AtomicU64,
    id: u32,
    apic_id: u32,
    /// How far its start has come (`smp`).
    pub stage: AtomicU32,
    /// Its TSC when it came up.
    pub arrived_at: AtomicU64,
    /// Physical interrupts for the control domain that wait for `irq::drain`.
    pub arrived: VectorSet,
    /// Level-triggered vectors that are in service.
    pub level: VectorSet,
    /// Level-triggered vectors that the control domain has acknowledged and
    /// the local APIC has not, because a higher one is in service.
    pub owed: VectorSet,
    /// TSC at which the timer shall fire; `u64::MAX`: never.
    pub deadline: AtomicU64,
    /// Non-maskable interrupts taken.
    pub nmis: AtomicU64,
    pub descriptors: Descriptors,
}

static CPUS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(null_mut()) }; MAX_CPUS];
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Makes the data of a CPU that is yet to run; it is not counted before
/// [`admit`].
pub(super) fn create(id: CpuId, apic_id: u32) -> &'static PerCpu {
    let cpu = Box::leak(Box::new(PerCpu {
        this: AtomicU64::new(0),
        id: id.0,
        apic_id,
        stage: AtomicU32::new(0),
        arrived_at: AtomicU64::new(0),
        arrived: empty(),
        level: empty(),
        owed: empty(),
        deadline: AtomicU64::new(u64::MAX),
        nmis: AtomicU64::new(0),
        descriptors: Descriptors::new(),
    }));
    cpu.this.store(&raw const *cpu as u64, Ordering::Relaxed);
    cpu
}

impl PerCpu {
    pub(super) fn id(&self) -> CpuId {
        CpuId(self.id)
    }

    pub(super) fn apic_id(&self) -> u32 {
        self.apic_id
    }

    /// Makes this the running CPU's data.
    pub(super) fn install(&'static self) {
        GsBase::write(VirtAddr::from_ptr(self));
    }
}

/// Counts a CPU that runs: it is known by its id from now on.
pub(super) fn admit(cpu: &'static PerCpu) {
    let slot = CPUS.get(cpu.id as usize);
    assert!(slot.is_some() && cpu.id == count(), "CPU ids are dense");
    if let Some(slot) = slot {
        slot.store((&raw const *cpu).cast_mut(), Ordering::Release);
    }
    COUNT.store(cpu.id + 1, Ordering::Release);
}

/// CPUs that run.
pub(super) fn count() -> u32 {
    COUNT.load(Ordering::Acquire)
}

/// A CPU's data.
pub(super) fn of(cpu: CpuId) -> Option<&'static PerCpu> {
    let found = CPUS.get(cpu.0 as usize)?.load(Ordering::Acquire);
    // SAFETY: null or what `admit` stored: a leaked box that is never freed
    // and holds nothing but atomics and constants that change.
    unsafe { found.as_ref() }
}

/// The running CPU's data.
pub(super) fn here() -> &'static PerCpu {
    let this: *const PerCpu;
    // SAFETY: `install` ran before anything that could come here; the first
    // field is the structure's own address, and it lives for ever.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, pure, readonly));
        &*this
    }
}

/// The running CPU's id.
pub(super) fn current() -> CpuId {
    let id: u32;
    // SAFETY: as in `here`.
    unsafe {
        asm!(
            "mov {:e}, gs:[{}]",
            out(reg) id,
            const offset_of!(PerCpu, id),
            options(nostack, preserves_flags, pure, readonly)
        );
    }
    CpuId(id)
}
