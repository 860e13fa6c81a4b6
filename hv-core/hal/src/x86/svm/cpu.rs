// SPDX-License-Identifier: MIT OR Apache-2.0
//! AMD-V on the CPUs themselves: is it there, which parts of it, and each
//! CPU's own areas.
// UNSAFETY: writes EFER and VM_HSAVE_PA.
#![allow(unsafe_code)]

use spin::Once;

use crate::addr::CpuId;
use crate::stage2;
use crate::vendor::regs::{efer, msr};
use crate::vendor::svm::permit;
use crate::vendor::tags::Tag;
use crate::x86::host_page::HostPages;
use crate::x86::percpu::MAX_CPUS;
use crate::x86::{cpu, maps, tags, vcpu};

/// Virtual machine control: APM Vol. 2, 15.30.1.
const VM_CR: u32 = 0xc001_0114;
const VM_CR_DISABLED: u64 = 1 << 4;
/// Where VMRUN keeps the host's state: 15.30.4.
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// What the CPUs have (CPUID 8000_000A: APM Vol. 3, E.4.9).
#[derive(Clone, Copy, Debug)]
pub struct Features {
    pub asids: u32,
    /// The next instruction's address is stored at an exit (15.7.1).
    pub next_rip: bool,
    /// Clean bits are heeded (15.15).
    pub clean: bool,
    /// PAUSE can be counted (15.14.4), and with a threshold.
    pub pause_count: bool,
    pub pause_threshold: bool,
}

static FEATURES: Once<Features> = Once::new();
/// Each CPU's two pages: what VMRUN saves, and what VMSAVE does.
static AREAS: [Once<HostPages>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

/// The CPU has SVM (15.4).
pub fn present() -> bool {
    let [max, ..] = cpu::cpuid(0x8000_0000, 0);
    max >= 0x8000_000a && cpu::cpuid(0x8000_0001, 0)[2] & 1 << 2 != 0
}

/// Can the core live on it? Learns what it has.
pub fn probe() -> Result<(), &'static str> {
    if !present() {
        return Err("the CPU has no AMD-V (SVM): leave out vendor=svm, or give the virtual \
            machine a CPU with svm (QEMU: -cpu …,+svm,+npt)");
    }
    if cpu::rdmsr_safe(VM_CR).is_some_and(|value| value & VM_CR_DISABLED != 0) {
        return Err("AMD-V is switched off (VM_CR.SVMDIS): turn SVM on in the firmware setup");
    }
    let [_, asids, _, d] = cpu::cpuid(0x8000_000a, 0);
    let has = |bit: u32| d >> bit & 1 == 1;
    if !has(0) {
        return Err("AMD-V has no nested paging (NPT) here: the core needs a CPU with it \
            (QEMU: -cpu …,+npt)");
    }
    if asids < 2 {
        return Err("AMD-V offers no ASID for guests (CPUID 8000_000A EBX)");
    }
    // Nested tables may have what the host's may (15.25.5).
    if !cpu::features().pages_1g {
        stage2::without_huge_leaves();
    }
    FEATURES.call_once(|| Features {
        asids,
        next_rip: has(3),
        clean: has(5),
        pause_count: has(10),
        pause_threshold: has(12),
    });
    maps::make(permit::MSR_BYTES, permit::fill_msrs);
    Ok(())
}

/// What was learnt; [`probe`] has succeeded before a vCPU is made.
pub fn features() -> &'static Features {
    match FEATURES.get() {
        Some(features) => features,
        None => panic!("svm: used before it was probed"),
    }
}

/// Turns SVM on, on the running CPU.
pub fn enable_cpu() -> Result<(), &'static str> {
    let here = cpu::current();
    let Some(area) = AREAS.get(here.0 as usize) else {
        return Err("more CPUs than the core runs on");
    };
    let area = area.call_once(|| HostPages::new(2)).address();
    let old = cpu::rdmsr_safe(msr::EFER).unwrap_or(0);
    // SAFETY: SVME only allows the SVM instructions (15.4); the area is a
    // page of this CPU's own that nothing else uses.
    let done = unsafe {
        cpu::wrmsr_safe(msr::EFER, old | efer::SVME) && cpu::wrmsr_safe(VM_HSAVE_PA, area)
    };
    if done {
        Ok(())
    } else {
        Err("this CPU refuses to turn AMD-V on (EFER.SVME): is it locked in the firmware setup?")
    }
}

/// Where this CPU keeps the host's VMLOAD state, by machine address.
pub fn host_state(here: CpuId) -> u64 {
    match AREAS.get(here.0 as usize).and_then(Once::get) {
        Some(area) => area.address() + 4096,
        None => panic!("svm: CPU {} is not enabled", here.0),
    }
}

/// A tag for this CPU: the old one if it still is good, else a new one and
/// whether the whole TLB must be flushed.
pub fn tag(here: CpuId, old: Option<Tag>) -> (Tag, bool) {
    tags::tag(here, old, features().asids - 1)
}

/// For the check of a block: what VMRUN compares with.
pub fn limits() -> crate::vendor::svm::check::Cpu {
    let limits = vcpu::limits();
    crate::vendor::svm::check::Cpu {
        physical_bits: limits.physical_bits,
        asids: features().asids,
        cr4: limits.cr4,
        efer: limits.efer,
    }
}
