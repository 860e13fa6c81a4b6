// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first instruction to a main function, for runner and children;
//! and the parts of the image, from which the runner makes children.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::mail::MAIL;
use crate::paging::Tables;
use crate::text::Text;
use crate::verdict::{Outcome, Verdict};
use crate::{apic, cpu, descriptor, hypercall};

global_asm!(include_str!("start.s"), options(att_syntax));

unsafe extern "C" {
    static image_start: u8;
    static data_start: u8;
    static data_end: u8;
    static data_copy: u8;
    static bss_end: u8;
    fn hv_guest_child_entry();
}

unsafe extern "Rust" {
    /// The runner's main function, which the image defines.
    fn hv_guest_runner(boot: &Boot) -> !;
}

/// A page table page for each copy of the image; filled by the runner.
struct Pages(UnsafeCell<Tables>);

// SAFETY: written once by the runner's start, before other vCPUs run.
unsafe impl Sync for Pages {}

static PAGES: Pages = Pages(UnsafeCell::new(Tables::empty()));
static IS_RUNNER: AtomicBool = AtomicBool::new(false);
/// The runner's zero page.
static ZERO_PAGE: AtomicU64 = AtomicU64::new(0);

/// What the core told the runner.
pub struct Boot {
    /// Its command line.
    pub cmdline: &'static str,
    /// Address of the zero page.
    pub zero_page: u64,
}

fn address(symbol: &u8) -> u64 {
    core::ptr::from_ref(symbol) as u64
}

/// Address and length of the image in memory, bss included.
pub fn image() -> Range<u64> {
    // SAFETY: only the addresses of linker symbols are taken.
    unsafe { address(&image_start)..address(&bss_end) }
}

/// The image's parts that a child begins with: where they go, where their
/// bytes are. What is missing is zero.
pub fn parts() -> [(u64, &'static [u8]); 3] {
    // SAFETY: the linker script says that these ranges are the image's own;
    // nothing writes text, read-only data, the saved data or the tables once
    // `hv_guest_runner_start` is through.
    unsafe {
        let (start, data) = (address(&image_start), address(&data_start));
        let data_len = (address(&data_end) - data) as usize;
        let slice = |at: u64, len: usize| core::slice::from_raw_parts(at as *const u8, len);
        let tables = PAGES.0.get() as u64;
        [
            (start, slice(start, (data - start) as usize)),
            (data, slice(address(&data_copy), data_len)),
            (tables, slice(tables, size_of::<Tables>())),
        ]
    }
}

/// Address of the page tables, the same in every copy.
pub fn tables() -> u64 {
    PAGES.0.get() as u64
}

/// Where a child begins; `rdi` is the address of its main function.
pub fn child_entry() -> u64 {
    hv_guest_child_entry as *const () as u64
}

/// This copy runs as the control domain.
pub fn is_runner() -> bool {
    IS_RUNNER.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
extern "C" fn hv_guest_runner_start(zero_page: u64) -> ! {
    // SAFETY: one CPU, first code; the ranges are the linker script's, and
    // nothing has changed the data yet.
    unsafe {
        let length = address(&data_end) - address(&data_start);
        let copy = core::ptr::from_ref(&data_copy).cast_mut();
        core::ptr::copy_nonoverlapping(&raw const data_start, copy, length as usize);
        (*PAGES.0.get()).fill(PAGES.0.get() as u64);
    }
    IS_RUNNER.store(true, Ordering::Relaxed);
    ZERO_PAGE.store(zero_page, Ordering::Relaxed);
    cpu::set_cr3(tables());
    prepare(0);
    let boot = Boot { cmdline: cmdline(zero_page), zero_page };
    // SAFETY: the image defines it with this signature.
    unsafe { hv_guest_runner(&boot) }
}

/// The command line, by the zero page's fields at 0x228 and 0xc8.
fn cmdline(zero_page: u64) -> &'static str {
    // SAFETY: the boot protocol says so; the core's boot data stays.
    unsafe {
        let word = |offset: u64| u64::from(((zero_page + offset) as *const u32).read_unaligned());
        let start = (word(0x228) | word(0xc8) << 32) as *const u8;
        let length = (0..4096).take_while(|i| *start.add(*i) != 0).count();
        core::str::from_utf8(core::slice::from_raw_parts(start, length)).unwrap_or("")
    }
}

/// The value of `name=NUMBER` on the runner's command line, decimal or 0x….
pub fn parameter(name: &str) -> Option<u64> {
    let page = ZERO_PAGE.load(Ordering::Relaxed);
    let line = if page == 0 { "" } else { cmdline(page) };
    line.split_whitespace().find_map(|word| number(word.strip_prefix(name)?.strip_prefix('=')?))
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn hv_guest_child_start(main: usize) -> ! {
    prepare(0);
    // SAFETY: the runner puts the address of a `fn() -> Outcome` of the same
    // image into the register.
    let main = unsafe { core::mem::transmute::<usize, fn() -> Outcome>(main) };
    finish(main())
}

/// Ends a child with its verdict.
pub fn finish(outcome: Outcome) -> ! {
    let (kind, text) = match outcome {
        Ok(()) => (0, Text::new()),
        Err(Verdict::Skip(text)) => (1, text),
        Err(Verdict::Error(text)) => (2, text),
        Err(Verdict::Failure(text)) => (3, text),
    };
    MAIL.put_text(kind, &text);
    hypercall::shutdown(hv_abi::domain::reason::POWEROFF, kind)
}

/// What every vCPU needs before anything else.
pub fn prepare(index: usize) {
    descriptor::load(index);
    apic::enable();
}

/// Says that this copy can't go on, and ends it.
pub fn die(why: &Text) -> ! {
    if is_runner() {
        crate::println!("HVTEST-PANIC {why}");
        end_machine(false)
    }
    MAIL.put_text(2, why);
    hypercall::shutdown(hv_abi::domain::reason::CRASH, 0)
}

/// Ends the machine: QEMU's debug exit (port 0xf4; its exit code is the value
/// times two plus one), Bochs' shutdown port (0x8900), else the core's call.
pub fn end_machine(good: bool) -> ! {
    cpu::port_out(0xf4, 4, if good { 0x10 } else { 0x11 });
    for byte in b"Shutdown" {
        cpu::port_out(0x8900, 1, u32::from(*byte));
    }
    let halt = hv_abi::Hypercall::HostPower { action: hv_abi::host::power::HALT };
    let _ = hypercall::call(halt);
    cpu::halt_forever()
}

/// What the image's panic handler calls.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    die(&Text::of(format_args!("{info}")))
}
