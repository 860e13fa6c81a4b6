// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers of a vCPU that no control block holds, switched by software when
//! it is loaded and unloaded: the extended state (x87 to PKRU) with XCR0, the
//! debug address registers, TSC_AUX.
//!
//! All of it is switched eagerly: nothing of another domain's ever lies in a
//! register of this CPU while a guest runs. The core itself is built without
//! SSE and sets no breakpoints, so it has no such state of its own to keep.
// UNSAFETY: XSAVE, XRSTOR, XSETBV, debug registers, MSRs.
#![allow(unsafe_code)]

use core::arch::asm;
use spin::Once;

use super::{cpu, mem};
use crate::addr::Frame;
use crate::stage2::TableFrames;
use crate::vendor::regs::{msr, valid_xcr0, xcr0};

/// Offset of MXCSR in the area, and its reset value (SDM Vol. 1, 13.4.1).
const MXCSR: usize = 24;
const MXCSR_RESET: u32 = 0x1f80;
/// Offset of FCW, and its reset value; FXRSTOR takes it from memory.
const FCW_RESET: u16 = 0x37f;
/// Bytes an area may have: a page holds all that `xcr0::ALLOWED` has.
const ROOM: u32 = 4096;

struct Kind {
    /// XCR0 bits that are offered and switched; 0 without XSAVE.
    mask: u64,
    tsc_aux: bool,
}

static KIND: Once<Kind> = Once::new();

fn kind() -> &'static Kind {
    KIND.call_once(|| {
        let [.., d81] = cpu::cpuid(0x8000_0001, 0);
        let [max, ..] = cpu::cpuid(0, 0);
        let rdpid = max >= 7 && cpu::cpuid(7, 0)[2] & 1 << 22 != 0;
        Kind {
            mask: if cpu::features().xsave { mask() } else { 0 },
            tsc_aux: d81 & 1 << 27 != 0 || rdpid,
        }
    })
}

/// What the CPU has, we allow, and a page holds (SDM Vol. 1, 13.2).
fn mask() -> u64 {
    let [low, _, _, high] = cpu::cpuid(0xd, 0);
    let mut mask = (u64::from(high) << 32 | u64::from(low)) & xcr0::ALLOWED;
    for component in 2..64 {
        let [size, offset, ..] = cpu::cpuid(0xd, component);
        if mask >> component & 1 == 1 && size.saturating_add(offset) > ROOM {
            mask &= !(1 << component);
        }
    }
    if mask & xcr0::AVX512 != xcr0::AVX512 {
        mask &= !xcr0::AVX512;
    }
    mask
}

/// XCR0 bits that a vCPU may set; 0 without XSAVE.
pub fn allowed() -> u64 {
    kind().mask
}

/// One vCPU's.
pub struct Xstate {
    area: Option<Frame>,
    xcr0: u64,
    breakpoints: [u64; 4],
    tsc_aux: u64,
    loaded: bool,
}

impl Xstate {
    /// Reset state; None when there is no frame.
    pub fn new(frames: &mut dyn TableFrames) -> Option<Self> {
        let area = frames.take()?;
        let mut new =
            Self { area: Some(area), xcr0: 1, breakpoints: [0; 4], tsc_aux: 0, loaded: false };
        new.reset();
        Some(new)
    }

    /// Gives the frame back.
    pub fn release(&mut self, frames: &mut dyn TableFrames) {
        if let Some(area) = self.area.take() {
            frames.give(area);
        }
    }

    /// Reset state. An XSAVE header of zeros is the initial state of every
    /// component (SDM Vol. 1, 13.6).
    pub fn reset(&mut self) {
        let loaded = self.loaded;
        if loaded {
            self.unload();
        }
        if let Some(area) = self.area {
            mem::zero(area, 1);
            mem::write(area, 0, &FCW_RESET.to_le_bytes());
            mem::write(area, MXCSR, &MXCSR_RESET.to_le_bytes());
        }
        self.xcr0 = 1;
        self.breakpoints = [0; 4];
        self.tsc_aux = 0;
        if loaded {
            self.load();
        }
    }

    /// Its XCR0. QEMU 7.2 lets a guest's XSETBV through though it should be
    /// intercepted, so what the register holds is what counts.
    pub fn xcr0(&self) -> u64 {
        let live = if self.loaded && kind().mask != 0 { read_xcr0() } else { self.xcr0 };
        if valid_xcr0(live, kind().mask) { live } else { self.xcr0 }
    }

    /// Sets it; false if no CPU of this machine would take it.
    pub fn set_xcr0(&mut self, value: u64) -> bool {
        if !valid_xcr0(value, kind().mask) {
            return false;
        }
        self.xcr0 = value;
        if self.loaded {
            write_xcr0(value);
        }
        true
    }

    /// Its TSC_AUX; the guest sets it without an exit.
    pub fn tsc_aux(&self) -> u64 {
        let live = if self.loaded && kind().tsc_aux { cpu::rdmsr_safe(msr::TSC_AUX) } else { None };
        live.unwrap_or(self.tsc_aux)
    }

    /// Sets it; 32 bits.
    pub fn set_tsc_aux(&mut self, value: u64) {
        self.tsc_aux = value;
        if self.loaded {
            write_tsc_aux(value);
        }
    }

    /// Puts all of it into this CPU's registers.
    pub fn load(&mut self) {
        let Some(area) = self.area else { return };
        restore(mem::pointer(area, 1));
        if kind().mask != 0 {
            write_xcr0(self.xcr0);
        }
        let [d0, d1, d2, d3] = self.breakpoints;
        // SAFETY: breakpoints are off while the core runs: DR7 is the vCPU's
        // own only in guest mode (APM Vol. 2, 15.5.1; SDM Vol. 3, 28.5.1).
        unsafe {
            asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
                in(reg) d0, in(reg) d1, in(reg) d2, in(reg) d3, options(nomem, nostack));
        }
        write_tsc_aux(self.tsc_aux);
        self.loaded = true;
    }

    /// Takes all of it out of this CPU's registers.
    pub fn unload(&mut self) {
        let Some(area) = self.area else { return };
        self.tsc_aux = self.tsc_aux();
        self.xcr0 = self.xcr0();
        save(mem::pointer(area, 1));
        let (d0, d1, d2, d3): (u64, u64, u64, u64);
        // SAFETY: only reads.
        unsafe {
            asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
                out(reg) d0, out(reg) d1, out(reg) d2, out(reg) d3, options(nomem, nostack));
        }
        self.breakpoints = [d0, d1, d2, d3];
        self.loaded = false;
    }
}

/// Every allowed component, whatever the vCPU has enabled just now: it may
/// have used more before.
fn restore(area: *mut u8) {
    let mask = kind().mask;
    if mask == 0 {
        // SAFETY: the area is a page, filled by FXSAVE or `reset`; the core
        // has nothing of its own in these registers.
        unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack)) };
        return;
    }
    write_xcr0(mask);
    // SAFETY: as above, by XSAVE: the header is one that XSAVE wrote or zeros,
    // MXCSR was checked by the CPU when the guest loaded it, and `mask` never
    // shrinks, so there is nothing to fault on (SDM Vol. 1, 13.8.1).
    unsafe {
        asm!("xrstor64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") mask >> 32,
            options(nostack));
    }
}

fn save(area: *mut u8) {
    let mask = kind().mask;
    if mask == 0 {
        // SAFETY: the area is a page of this vCPU's own.
        unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
        return;
    }
    write_xcr0(mask);
    // SAFETY: as above; `mask` has only components that fit (checked when it
    // was made).
    unsafe {
        asm!("xsave64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") mask >> 32,
            options(nostack));
    }
}

fn read_xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: only reads; CR4.OSXSAVE is set where there is XSAVE.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

fn write_xcr0(value: u64) {
    // SAFETY: CR4.OSXSAVE is set where there is XSAVE (`cpu::setup`), and the
    // value was checked. The core uses no extended state.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") value >> 32,
            options(nomem, nostack, preserves_flags));
    }
}

fn write_tsc_aux(value: u64) {
    if kind().tsc_aux {
        // SAFETY: the core does not use TSC_AUX.
        unsafe { cpu::wrmsr_safe(msr::TSC_AUX, value) };
    }
}
