// SPDX-License-Identifier: MIT OR Apache-2.0
//! VT-x on the CPUs themselves: is it there, which parts of it, each CPU's
//! VMXON region, and its TLB.
// UNSAFETY: CR4, VMXON, INVEPT, INVVPID.
#![allow(unsafe_code)]

use core::arch::asm;
use spin::Once;

use crate::addr::CpuId;
use crate::assist::Assist;
use crate::stage2;
use crate::vendor::regs::{cr0, cr4};
use crate::vendor::tags::Tag;
use crate::vendor::vmx::controls::{Capabilities, Controls, Firmware, choose, firmware};
use crate::vendor::vmx::layout::capability as msr;
use crate::vendor::vmx::permit;
use crate::vendor::vmx::state::Owned;
use crate::x86::host_page::HostPages;
use crate::x86::percpu::MAX_CPUS;
use crate::x86::{cpu, maps, tags, time, vcpu};

/// VPIDs are 16 bits (SDM Vol. 3, 29.1).
const LAST_VPID: u32 = 0xffff;

/// No run of a guest is longer, should an interrupt fail to end it. (Bochs 2.7
/// forgets to look for interrupts as long as a guest that was entered with IF
/// clear leaves it so.)
const LONGEST_MS: u64 = 10;

/// What the CPUs have.
#[derive(Debug)]
pub struct Features {
    pub controls: Controls,
    pub capabilities: Capabilities,
    pub owned: Owned,
    /// Where the VMX-preemption timer begins at each entry: [`LONGEST_MS`].
    pub timer: u32,
    /// What a VMCS begins with.
    pub revision: u32,
}

static FEATURES: Once<Features> = Once::new();
static REGIONS: [Once<HostPages>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

/// The CPU has VMX (24.6).
pub fn present() -> bool {
    cpu::cpuid(1, 0)[2] & 1 << 5 != 0
}

/// Can the core live on it? Learns what it has. `want`: what the CPU shall do
/// of the virtual APIC.
pub fn probe(want: Assist) -> Result<(), &'static str> {
    if !present() {
        return Err("the CPU has no VT-x (VMX): leave out vendor=vmx, or give the virtual \
            machine a CPU with vmx (QEMU: -cpu host,+vmx, and kvm_intel nested=1)");
    }
    allowed()?;
    let read = |index: u32| cpu::rdmsr_safe(index).unwrap_or(0);
    let basic = read(msr::BASIC);
    // TRUE_PIN to TRUE_ENTRY lie in the order of PIN to ENTRY (A.2).
    let pick = |index: u32| {
        read(if basic >> 55 & 1 == 1 { index - msr::PIN + msr::TRUE_PIN } else { index })
    };
    let primary = pick(msr::PRIMARY);
    let secondary = if primary >> 63 == 1 { read(msr::SECONDARY) } else { 0 };
    // Only there with EPT or VPID (A.10).
    let tables = secondary >> 32 & (1 << 1 | 1 << 5) != 0;
    let capabilities = Capabilities {
        pin: pick(msr::PIN),
        primary,
        exit: pick(msr::EXIT),
        entry: pick(msr::ENTRY),
        secondary,
        ept_vpid: if tables { read(msr::EPT_VPID) } else { 0 },
        misc: read(msr::MISC),
        cr0_fixed0: read(msr::CR0_FIXED0),
        cr0_fixed1: read(msr::CR0_FIXED1),
        cr4_fixed0: read(msr::CR4_FIXED0),
        cr4_fixed1: read(msr::CR4_FIXED1),
    };
    let controls = choose(&capabilities, want)?;
    if !controls.large_1g {
        stage2::without_huge_leaves();
    }
    FEATURES.call_once(|| Features {
        controls,
        capabilities,
        owned: Owned {
            // Unrestricted guest takes PE and PG out (A.7).
            cr0_fixed: capabilities.cr0_fixed0 & !(cr0::PE | cr0::PG),
            cr4_fixed: capabilities.cr4_fixed0,
            cr4_allowed: vcpu::limits().cr4,
        },
        // Ticks of the TSC, shifted by bits 4:0 (A.6).
        timer: u32::try_from((LONGEST_MS * time::khz()) >> (capabilities.misc & 0x1f))
            .unwrap_or(u32::MAX),
        revision: basic as u32 & 0x7fff_ffff,
    });
    maps::make(permit::MSR_BYTES, |map| permit::fill_msrs(map, controls.assist));
    Ok(())
}

/// Firmware may have forbidden VMX; if it left the lock open, we allow it.
fn allowed() -> Result<(), &'static str> {
    let allows = match firmware(cpu::rdmsr_safe(msr::FEATURE_CONTROL)) {
        Firmware::Allows => true,
        // SAFETY: allows VMXON and nothing else.
        Firmware::LeavesOpen(value) => unsafe { cpu::wrmsr_safe(msr::FEATURE_CONTROL, value) },
        Firmware::Forbids => false,
    };
    if allows {
        return Ok(());
    }
    Err("VT-x is switched off (IA32_FEATURE_CONTROL is locked without it): turn virtualization \
        on in the firmware setup")
}

/// What was learnt; [`probe`] has succeeded before a vCPU is made.
pub fn features() -> &'static Features {
    match FEATURES.get() {
        Some(features) => features,
        None => panic!("vmx: used before it was probed"),
    }
}

/// What the CPUs do of the virtual APIC.
pub fn assist() -> Assist {
    FEATURES.get().map_or(Assist::NONE, |features| features.controls.assist)
}

/// Enters VMX operation on the running CPU.
pub fn enable_cpu() -> Result<(), &'static str> {
    let here = cpu::current();
    let Some(region) = REGIONS.get(here.0 as usize) else {
        return Err("more CPUs than the core runs on");
    };
    allowed()?;
    let region = region.call_once(|| {
        let mut region = HostPages::new(1);
        region.bytes()[..4].copy_from_slice(&features().revision.to_le_bytes());
        region
    });
    let address = region.address();
    let failed: u8;
    // SAFETY: CR4 gets the bits that VMX operation wants (24.8), PE, NE and PG
    // of CR0 are set since boot; the region is a page of this CPU's own.
    unsafe {
        asm!("mov {0}, cr4", "or {0}, {1}", "mov cr4, {0}",
            out(reg) _, in(reg) features().owned.cr4_fixed | cr4::VMXE, options(nostack));
        asm!("vmxon [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed,
            options(nostack));
    }
    if failed != 0 {
        return Err("this CPU refuses VMXON: is another hypervisor or firmware using VT-x?");
    }
    // What an earlier user of VT-x left in the TLB.
    invept(2, 0);
    Ok(())
}

/// A tag for this CPU: the old one if it still is good, else a new one, after
/// a flush of all when tags were used up.
pub fn tag(here: CpuId, old: Option<Tag>) -> Tag {
    let (tag, flush) = tags::tag(here, old, LAST_VPID);
    if flush && features().controls.vpid {
        invvpid_all();
    }
    tag
}

/// Flushes what this CPU's TLB has of the tables that this EPTP names.
pub fn flush(eptp: u64) {
    if features().controls.invept_single { invept(1, eptp) } else { invept(2, 0) }
}

/// Types 1 and 2: a single context, all contexts (SDM Vol. 3, 31.3, INVEPT).
fn invept(kind: u64, eptp: u64) {
    let descriptor = [eptp, 0];
    // SAFETY: only flushes; the type is one that `choose` has found.
    unsafe {
        asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack));
    }
}

/// Type 2: all contexts (INVVPID).
fn invvpid_all() {
    let descriptor = [0u64; 2];
    // SAFETY: as above.
    unsafe {
        asm!("invvpid {}, [{}]", in(reg) 2u64, in(reg) &raw const descriptor, options(nostack));
    }
}
