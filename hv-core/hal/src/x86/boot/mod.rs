// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the boot loader to `hv_main`: entry.s brings the boot CPU here in
//! 64-bit mode, in early tables, on an early stack. Then, in this order:
//! a place to report faults to; what the loader told, copied; the final
//! address space and stack; ACPI; interrupt controllers; time.
//!
//! There is no log yet: [`note`] keeps lines until the kernel crate has one
//! and starts the other CPUs. A fault shows them as well.
//!
//! [`early_alloc`] takes frames from the top of the memory below 4 GiB, for
//! good. When the kernel crate builds its frame database, [`core_ranges`]
//! tells what is taken; afterwards nothing in the hal allocates frames but
//! [`start_cpus`], which must come before that.
// UNSAFETY: the entry point, the switch to the final stack, and memory read
// by machine address.
#![allow(unsafe_code)]

use super::{acpi_memory, apic, cpu, irq, mem, paging, percpu, pic, power, smp, time, trap};
use crate::acpi::{self, Machine};
use crate::addr::{CpuId, Frame};
use crate::bootinfo::{self, Physical};
use crate::multiboot::{self, Told};
use alloc::{string::String, vec::Vec};
use core::arch::{asm, global_asm};
use core::fmt;
use spin::{Mutex, Once};

pub use crate::bootinfo::{BootInfo, Module, Region, RegionKind};
pub use smp::start_cpus;

global_asm!(include_str!("entry.s"), options(att_syntax));

unsafe extern "C" {
    /// From the linker script: physical addresses of the image.
    static IMAGE_PHYS: u8;
    static image_end_phys: u8;
}

unsafe extern "Rust" {
    /// The image crate's main.
    safe fn hv_main(info: &'static BootInfo) -> !;
}

/// The core's memory ends below this: tables that real and 32-bit modes use
/// must.
const EARLY_LIMIT: u64 = 1 << 32;

static INFO: Once<BootInfo> = Once::new();
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Ranges that hold something: the image, modules, what was allocated. The
/// flag says that it is the core's own.
static USED: Mutex<Vec<(u64, u64, bool)>> = Mutex::new(Vec::new());

/// Keeps a line for the log that is yet to come.
pub(super) fn note(text: fmt::Arguments<'_>) {
    NOTES.lock().push(alloc::fmt::format(text));
}

/// Shows the lines kept, to a report that may have broken in anywhere.
pub(super) fn each_note(show: &mut dyn FnMut(&str)) {
    if let Some(notes) = NOTES.try_lock() {
        notes.iter().for_each(|line| show(line));
    }
}

/// Passes the lines kept so far to the log, and forgets them.
pub(super) fn log_notes() {
    let notes = core::mem::take(&mut *NOTES.lock());
    for line in notes {
        log::info!("{line}");
    }
}

/// Takes zeroed frames from the top of the memory below 4 GiB; `align` in
/// pages, a power of two. A machine that can't give them can't run the core.
pub fn early_alloc(pages: u64, align: u64) -> Frame {
    let page = hv_abi::PAGE_SIZE;
    let memory = INFO.get().map(|info| info.memory).unwrap_or_default();
    let mut used = USED.lock();
    let taken: Vec<(u64, u64)> = used.iter().map(|u| (u.0, u.1)).collect();
    let size = pages * page;
    let start = bootinfo::find_high(memory, &taken, size, align * page, EARLY_LIMIT)
        .unwrap_or_else(|| panic!("no {pages} pages of memory below 4 GiB are left"));
    match used.iter_mut().find(|u| u.0 == start + size && u.2) {
        Some(above) => above.0 = start,
        None => used.push((start, start + size, true)),
    }
    drop(used);
    let frame = Frame::holding(start);
    mem::zero(frame, pages);
    frame
}

/// Tells the ranges that the core itself uses so far, modules not counted.
pub fn core_ranges(each: &mut dyn FnMut(u64, u64)) {
    let used = USED.lock().clone();
    used.iter().filter(|u| u.2).for_each(|u| each(u.0, u.1));
}

/// Memory as the early tables show it.
struct EarlyMemory;

impl Physical for EarlyMemory {
    fn copy(&self, address: u64, out: &mut [u8]) -> bool {
        let end = address.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > EARLY_LIMIT) {
            return false;
        }
        for (i, byte) in out.iter_mut().enumerate() {
            let at = (mem::DIRECT_MAP + address + i as u64) as *const u8;
            // SAFETY: the early tables map the first 4 GiB here; reading an
            // address without memory gives ones.
            *byte = unsafe { at.read_volatile() };
        }
        true
    }
}

/// From entry.s. A panic from here on is reported on COM1.
#[unsafe(no_mangle)]
extern "C" fn early_main(magic: u32, information: u32) -> ! {
    let boot_cpu = percpu::create(CpuId(0), cpu::initial_apic_id());
    trap::init();
    // The early stack serves faults as well, from its far end.
    smp::enter_rust(boot_cpu, [early_fault_stack(); super::desc::STACKS]);
    percpu::admit(boot_cpu);
    let [.., d81] = cpu::cpuid(0x8000_0001, 0);
    assert!(d81 & 1 << 20 != 0, "the CPU has no NX; the core does not run without");

    let told = match multiboot::parse(magic, information.into(), &EarlyMemory) {
        Ok(told) => told,
        Err(why) => panic!("{why}"),
    };
    let rsdp = keep(&told);
    let memory = INFO.get().map(|info| info.memory).unwrap_or_default();
    paging::init(memory);
    ROOT_POINTER.call_once(|| told.rsdp.or(rsdp));
    let stack = paging::stack();
    // SAFETY: a fresh mapped stack; nothing on the old one is used again.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {go_on}",
            "ud2",
            stack = in(reg) stack,
            go_on = sym go_on,
            options(noreturn)
        )
    }
}

/// The bytes of ACPI's root pointer.
static ROOT_POINTER: Once<Option<Vec<u8>>> = Once::new();

fn early_fault_stack() -> u64 {
    unsafe extern "C" {
        static early_fault_stack_end: u8;
    }
    &raw const early_fault_stack_end as u64
}

/// Makes the information that the rest of the core sees, and finds ACPI's
/// root pointer while low memory is still mapped.
fn keep(told: &Told) -> Option<Vec<u8>> {
    let limit = 1u64 << cpu::features().physical_bits.min(46);
    let memory = bootinfo::tidy(&told.memory, limit).leak();
    let modules: Vec<Module> = told
        .modules
        .iter()
        .map(|m| Module { start: m.start, end: m.end, cmdline: m.cmdline.clone().leak() })
        .collect();
    let from_efi = acpi::root_from_efi(&EarlyMemory, told.efi_system_table);
    let rsdp = from_efi.or_else(|| acpi::scan_for_root(&EarlyMemory)).unwrap_or(0);

    let image = (&raw const IMAGE_PHYS as u64, &raw const image_end_phys as u64);
    let inside = |r: &Region| r.kind == RegionKind::Ram && r.start <= image.0 && image.1 <= r.end;
    assert!(memory.iter().any(inside), "the core was loaded where the map shows no memory");
    let mut used = USED.lock();
    used.push((image.0, image.1, true));
    for m in modules.iter().filter(|m| m.start < m.end) {
        assert!(
            m.end <= image.0 || image.1 <= m.start,
            "the boot loader put a module over the core"
        );
        used.push((m.start, m.end, false));
    }
    drop(used);
    INFO.call_once(|| BootInfo {
        cmdline: told.cmdline.clone().leak(),
        loader: told.loader.clone().leak(),
        memory,
        modules: modules.leak(),
        rsdp,
    });
    acpi::read_root(&EarlyMemory, rsdp).map(|root| root.to_vec())
}

/// On the final stack, in the final tables.
extern "C" fn go_on() -> ! {
    let stacks = [paging::stack(), paging::stack(), paging::stack()];
    let boot_cpu = percpu::here();
    smp::enter_rust(boot_cpu, stacks);

    let machine = read_acpi();
    pic::mask();
    apic::init(machine.local_apic, machine.nmi_input);
    if let Some((port, value)) = machine.reset {
        power::set_reset_register(port, value);
    }
    time::init(&machine);
    // What the firmware left pending is nobody's.
    cpu::take_pending();
    irq::forget();

    let info = INFO.get().unwrap_or_else(|| panic!("no boot information"));
    let used: Vec<(u64, u64)> = USED.lock().iter().map(|u| (u.0, u.1)).collect();
    smp::init(&machine.processors, info.memory, &used);
    let enabled = machine.processors.iter().filter(|p| p.enabled).count();
    note(format_args!(
        "boot: {} ({enabled} CPUs, {}, ACPI root at {:#x})",
        info.loader,
        if apic::is_x2() { "x2APIC" } else { "xAPIC" },
        info.rsdp
    ));
    hv_main(info)
}

fn read_acpi() -> Machine {
    let root = ROOT_POINTER.get().and_then(|root| root.as_deref());
    let machine = match root.map(|root| acpi::parse(root, &acpi_memory::Windows::new())) {
        Some(Ok(machine)) => machine,
        Some(Err(why)) => {
            note(format_args!("ACPI: {why}; going on without"));
            Machine::default()
        }
        None => {
            note(format_args!("ACPI: no root pointer; going on without"));
            Machine::default()
        }
    };
    machine.notes.iter().for_each(|line| note(format_args!("ACPI: {line}")));
    machine
}
