// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's last words: a register dump and a backtrace of addresses on the
//! serial line (`xtask symbolize` turns them into names), then a line that
//! starts with `PANIC:`, while all other CPUs stand still.
//!
//! The first CPU to fail reports; one that fails meanwhile, or fails in the
//! report, just stops.
// UNSAFETY: walks frame pointers.
#![allow(unsafe_code)]

use super::trap::Frame;
use super::{apic, boot, irq, paging, percpu, power, serial, time};
use crate::addr::CpuId;
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::{Cr2, Cr3, Cr4};

/// All CPUs but one shall stop.
static DYING: AtomicBool = AtomicBool::new(false);
/// The CPU that reports.
static REPORTER: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;
/// CPUs that have stopped.
static STOPPED: AtomicU32 = AtomicU32::new(0);

/// Most return addresses that are shown.
const DEPTH: usize = 32;

const NAMES: [&str; 22] = [
    "#DE divide error",
    "#DB debug",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR bound range",
    "#UD invalid opcode",
    "#NM device not available",
    "#DF double fault",
    "coprocessor overrun",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack fault",
    "#GP general protection",
    "#PF page fault",
    "reserved",
    "#MF x87 error",
    "#AC alignment check",
    "#MC machine check",
    "#XM SIMD error",
    "#VE virtualization",
    "#CP control protection",
];

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        serial::write(text.as_bytes());
        Ok(())
    }
}

fn say(text: fmt::Arguments<'_>) {
    // Serial never fails.
    let _ = Serial.write_fmt(text);
}

/// Begins a report, or stops this CPU if there is one already.
fn begin() {
    interrupts::disable();
    let me = percpu::current().0;
    let reporter = REPORTER.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire);
    if reporter == Err(me) {
        serial::break_lock();
        say(format_args!("\nPANIC: the report itself failed\n"));
        halt();
    }
    if reporter.is_err() {
        stop();
    }
    stop_others();
    serial::break_lock();
    let (stopped, others) = (STOPPED.load(Ordering::Acquire), percpu::count().saturating_sub(1));
    if stopped < others && apic::is_up() {
        say(format_args!("\nonly {stopped} of {others} other CPUs have stopped\n"));
    }
    boot::each_note(&mut |note| say(format_args!("{note}\n")));
}

fn end() -> ! {
    if power::restarts_on_panic() {
        say(format_args!("restarting in 5 seconds\n"));
        time::spin_us(5_000_000);
        power::restart();
    }
    halt()
}

/// Ends the core because of a Rust panic.
pub fn die(info: &PanicInfo<'_>) -> ! {
    begin();
    say(format_args!("\nbacktrace on CPU {}:\n", percpu::current().0));
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    backtrace(rbp);
    match info.location() {
        Some(at) => say(format_args!("PANIC: {} at {}:{}\n", info.message(), at.file(), at.line())),
        None => say(format_args!("PANIC: {}\n", info.message())),
    }
    end()
}

/// Ends the core because of an exception in it.
pub(super) fn exception(frame: &Frame) -> ! {
    let cr2 = Cr2::read_raw();
    begin();
    let f = frame;
    let name = NAMES.get(f.vector as usize).copied().unwrap_or("reserved");
    say(format_args!("\n{name} on CPU {}, error {:#x}\n", percpu::current().0, f.error));
    say(format_args!("rip {:016x}  rsp {:016x}  rbp {:016x}\n", f.rip, f.rsp, f.rbp));
    say(format_args!("rax {:016x}  rbx {:016x}  rcx {:016x}\n", f.rax, f.rbx, f.rcx));
    say(format_args!("rdx {:016x}  rsi {:016x}  rdi {:016x}\n", f.rdx, f.rsi, f.rdi));
    say(format_args!("r8  {:016x}  r9  {:016x}  r10 {:016x}\n", f.r8, f.r9, f.r10));
    say(format_args!("r11 {:016x}  r12 {:016x}  r13 {:016x}\n", f.r11, f.r12, f.r13));
    say(format_args!("r14 {:016x}  r15 {:016x}  flags {:08x}\n", f.r14, f.r15, f.rflags));
    say(format_args!(
        "cs {:x} ss {:x}  cr2 {cr2:016x}  cr3 {:x}  cr4 {:x}\n",
        f.cs,
        f.ss,
        Cr3::read().0.start_address().as_u64(),
        Cr4::read_raw()
    ));
    if paging::below_stack(cr2) {
        say(format_args!("the address lies below a stack: the stack overflowed\n"));
    }
    say(format_args!("backtrace:\n  {:#018x}\n", f.rip));
    backtrace(f.rbp);
    say(format_args!("PANIC: {name} at {:#x}, error {:#x}, cr2 {cr2:#x}\n", f.rip, f.error));
    end()
}

/// Shows return addresses from this frame on. Every function keeps a frame
/// pointer (.cargo/config.toml). A chain that leaves its stack ends the walk;
/// should it fault all the same, `begin` stops the CPU.
fn backtrace(mut rbp: u64) {
    for _ in 0..DEPTH {
        if rbp < 0xffff_8000_0000_0000 || !rbp.is_multiple_of(8) {
            return;
        }
        // SAFETY: an aligned address of the upper half, which is the core's.
        // If it is not mapped, the fault ends a report that was ending anyway.
        let [next, back] = unsafe { (rbp as *const [u64; 2]).read_volatile() };
        if back < paging::IMAGE_OFFSET {
            return;
        }
        say(format_args!("  {back:#018x}\n"));
        if next <= rbp || next - rbp > 1 << 20 {
            return;
        }
        rbp = next;
    }
}

/// Makes all other CPUs stand still: by an interrupt, and those that do not
/// listen by NMI.
pub(super) fn stop_others() {
    DYING.store(true, Ordering::Release);
    if !apic::is_up() {
        return;
    }
    let others = percpu::count().saturating_sub(1);
    let patience = [u32::from(irq::STOP), apic::NMI];
    for what in patience {
        if STOPPED.load(Ordering::Acquire) >= others {
            return;
        }
        apic::send_to_others(what);
        for _ in 0..200 {
            if STOPPED.load(Ordering::Acquire) >= others {
                return;
            }
            time::spin_us(1000);
        }
    }
}

/// The CPU that shall report where it is.
static STUCK: AtomicU32 = AtomicU32::new(NOBODY);

/// Asks a CPU to report at its next NMI.
pub(super) fn ask(cpu: CpuId) {
    STUCK.store(cpu.0, Ordering::Release);
}

/// Stops this CPU if a report has begun, or reports if it was asked to; for
/// the NMI.
pub(super) fn stop_if_asked(frame: &Frame) {
    if DYING.load(Ordering::Acquire) {
        stop();
    }
    if STUCK.load(Ordering::Acquire) == percpu::current().0 {
        exception(frame);
    }
}

/// Counts this CPU as stopped, and stops it.
pub(super) fn stop() -> ! {
    STOPPED.fetch_add(1, Ordering::AcqRel);
    halt()
}

/// Stops this CPU.
pub(super) fn halt() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}
