// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts the machine's other CPUs, one after the other (SDM vol. 3, 9.4):
//! INIT, then STARTUP with the page of `trampoline.s`, which leads into
//! [`arrive`].
//!
//! A CPU and its starter agree through `PerCpu::stage`: whoever moves it out
//! of `CALLED` first decides. A CPU that comes too late finds `GIVEN_UP` and
//! stays out; a second INIT holds it where it is, for the page is given back.
// UNSAFETY: writes code for other CPUs and lends them stacks.
#![allow(unsafe_code)]

use super::percpu::{MAX_CPUS, PerCpu};
use super::{apic, boot, cpu, desc, mem, paging, percpu, time, trap};
use crate::acpi::Processor;
use crate::addr::{CpuId, Frame};
use crate::bootinfo::{Region, RegionKind};
use core::arch::global_asm;
use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, Ordering};
use spin::Once;
use zerocopy::{Immutable, IntoBytes};

const CALLED: u32 = 1;
const ALIVE: u32 = 2;
const GIVEN_UP: u32 = 3;

/// How long a CPU may take to answer a startup interrupt, in microseconds:
/// far more than any does, unless an emulator has to share its host.
const PATIENCE_US: u64 = 2_000_000;

const PAGE: usize = hv_abi::PAGE_SIZE as usize;

global_asm!(include_str!("trampoline.s"), options(att_syntax));

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_fields: u8;
    static trampoline_end: u8;
}

/// The fields of trampoline.s, in their order.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Fields {
    stack: u64,
    cpu: u64,
    entry: u64,
    root: u64,
}

/// CPUs the firmware lists, boot CPU excluded.
static OTHERS: Once<alloc::vec::Vec<Processor>> = Once::new();
/// A page below 1 MiB that the trampoline may borrow; none was found if unset.
static LOW_PAGE: Once<Frame> = Once::new();
/// Where started CPUs go when all are there.
static ENTRY: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Remembers what [`start_cpus`] needs.
pub(super) fn init(processors: &[Processor], memory: &[Region], used: &[(u64, u64)]) {
    let boot_id = apic::id();
    let others = processors.iter().filter(|p| p.apic_id != boot_id).copied().collect();
    OTHERS.call_once(|| others);
    let free = |page: &u64| {
        let end = page + hv_abi::PAGE_SIZE;
        memory.iter().any(|r| r.kind == RegionKind::Ram && r.start <= *page && end <= r.end)
            && !used.iter().any(|u| u.0 < end && *page < u.1)
    };
    // Page 0 holds the firmware's vectors and data.
    if let Some(page) = (1..0xa0).rev().map(|n| n * hv_abi::PAGE_SIZE).find(free) {
        LOW_PAGE.call_once(|| Frame::holding(page));
    }
}

/// Starts all other CPUs that the firmware has enabled; each calls `entry`
/// with its own id when all are there. Returns how many CPUs run. Those that
/// do not answer are named in the log and left alone.
pub fn start_cpus(entry: fn(CpuId) -> !) -> u32 {
    boot::log_notes();
    let others = OTHERS.get().map(|o| o.as_slice()).unwrap_or_default();
    if others.iter().any(|p| p.enabled) {
        match LOW_PAGE.get() {
            Some(page) => start_all(others, *page),
            None => log::error!("no free page below 1 MiB: the other CPUs stay out"),
        }
    }
    ENTRY.store(entry as *mut (), Ordering::Release);
    percpu::count()
}

fn start_all(others: &[Processor], page: Frame) {
    let mut saved = [0; PAGE];
    mem::read(page, 0, &mut saved);
    let root = paging::root_with_low_page(page.address());
    for processor in others.iter().filter(|p| p.enabled) {
        let id = processor.apic_id;
        if percpu::count() as usize == MAX_CPUS {
            log::warn!("CPU with APIC id {id} stays out: the core runs on {MAX_CPUS} at most");
        } else if id >= 0xff && !apic::is_x2() {
            log::warn!("CPU with APIC id {id} stays out: only an x2APIC can reach it");
        } else if !start(id, page, root) {
            log::warn!("CPU with APIC id {id} does not answer and stays out");
        }
    }
    mem::write(page, 0, &saved);
}

/// The trampoline's code with the fields for one CPU, as bytes.
fn write_trampoline(page: Frame, fields: &Fields) {
    let start = &raw const trampoline_start;
    let len = &raw const trampoline_end as usize - start as usize;
    let fields_at = &raw const trampoline_fields as usize - start as usize;
    assert!(len <= PAGE);
    // SAFETY: the block lies between the two symbols, in read-only data.
    let code = unsafe { core::slice::from_raw_parts(start, len) };
    mem::write(page, 0, code);
    mem::write(page, fields_at, fields.as_bytes());
    // The far pointers (after `root`) and the GDT's address hold offsets in
    // the block; the CPU needs addresses.
    let base = page.address() as u32;
    let behind = fields_at + size_of::<Fields>();
    for at in [behind, behind + 8, behind + 18] {
        let mut word = [0; 4];
        mem::read(page, at, &mut word);
        mem::write(page, at, &(u32::from_le_bytes(word) + base).to_le_bytes());
    }
}

/// Starts one CPU; false when it does not answer.
fn start(apic_id: u32, page: Frame, root: Frame) -> bool {
    let cpu = percpu::create(CpuId(percpu::count()), apic_id);
    cpu.stage.store(CALLED, Ordering::Release);
    let entry: extern "C" fn(&'static PerCpu) -> ! = arrive;
    let fields = Fields {
        stack: paging::stack(),
        cpu: &raw const *cpu as u64,
        entry: entry as usize as u64,
        root: root.address(),
    };
    write_trampoline(page, &fields);

    let called = time::now();
    apic::send(apic_id, apic::INIT);
    time::spin_us(10_000);
    for (attempt, patience) in [(1, 10_000), (2, PATIENCE_US)] {
        apic::send(apic_id, apic::STARTUP | (page.0 as u32 & 0xff));
        let end = time::now() + patience * time::khz() / 1000;
        while time::now() < end {
            if cpu.stage.load(Ordering::Acquire) == ALIVE {
                log::debug!("CPU {} has APIC id {apic_id} (startup {attempt})", cpu.id().0);
                compare_clocks(cpu, called);
                percpu::admit(cpu);
                return true;
            }
            core::hint::spin_loop();
        }
    }
    let given_up =
        cpu.stage.compare_exchange(CALLED, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
    if given_up.is_err() {
        percpu::admit(cpu);
        return true;
    }
    apic::send(apic_id, apic::INIT);
    time::spin_us(10_000);
    false
}

/// Says so when a CPU's TSC can't be the one that this CPU has: time is the
/// TSC for everybody, so such a machine would not keep it.
fn compare_clocks(cpu: &PerCpu, called: u64) {
    let there = cpu.arrived_at.load(Ordering::Relaxed);
    if !(called..=time::now()).contains(&there) {
        let off = there.wrapping_sub(called) as i64 / time::khz().max(1) as i64;
        log::warn!("the TSC of CPU {} is off by about {off} ms", cpu.id().0);
    }
}

/// The first Rust of a started CPU, on its own stack, in the trampoline's
/// tables.
extern "C" fn arrive(cpu: &'static PerCpu) -> ! {
    paging::switch();
    cpu::setup();
    enter_rust(cpu, [paging::stack(), paging::stack(), paging::stack()]);
    apic::setup();
    cpu.arrived_at.store(time::now(), Ordering::Relaxed);
    if cpu.stage.compare_exchange(CALLED, ALIVE, Ordering::AcqRel, Ordering::Acquire).is_err() {
        super::fault::halt();
    }
    let entry = loop {
        let entry = ENTRY.load(Ordering::Acquire);
        if !entry.is_null() {
            break entry;
        }
        core::hint::spin_loop();
    };
    // SAFETY: `start_cpus` stored a function of this type, and nothing else
    // is ever stored.
    let entry: fn(CpuId) -> ! = unsafe { transmute(entry) };
    entry(cpu.id())
}

/// Descriptor tables, interrupt entries and the way to its own data, for the
/// running CPU; with the tops of its interrupt stacks.
pub(super) fn enter_rust(cpu: &'static PerCpu, stacks: [u64; desc::STACKS]) {
    // SAFETY: the running CPU owns `cpu`, and GS is installed next.
    unsafe { cpu.descriptors.load(stacks) };
    cpu.install();
    trap::load();
}
