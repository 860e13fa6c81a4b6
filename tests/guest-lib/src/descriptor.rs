// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments, task state and the per-CPU area, whose address is GS's base.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::cpu::wrmsr;
use crate::trap::{self, Fault};

/// vCPUs a micro-guest can use.
pub const MAX_CPUS: usize = 8;

/// Kernel code selector.
pub const CODE: u16 = 0x08;
/// Kernel data selector.
pub const DATA: u16 = 0x10;
/// User data selector.
pub const USER_DATA: u16 = 0x1b;
/// User code selector.
pub const USER_CODE: u16 = 0x23;
const TASK: u16 = 0x28;

const GS_BASE: u32 = 0xc000_0101;
const STACK: usize = 8192;

/// Task state segment (SDM Vol. 3, 8.7).
#[repr(C, packed(4))]
struct Task {
    reserved: u32,
    rsp: [u64; 3],
    unused: u64,
    ist: [u64; 7],
    rest: [u64; 1],
    unused2: u16,
    io_map: u16,
}
const _: () = assert!(size_of::<Task>() == 104);

/// A stack.
#[repr(C, align(16))]
struct Stack([u8; STACK]);

/// What a CPU has of its own. The first three fields are known to trap.s.
#[repr(C, align(64))]
pub struct PerCpu {
    /// Position.
    pub index: u64,
    /// Stack pointer of the innermost `catch`, or 0.
    pub jump: u64,
    /// The fault that `catch` caught last.
    pub fault: Fault,
    gdt: [u64; 7],
    task: Task,
    kernel_stack: Stack,
    fault_stack: Stack,
    user_stack: Stack,
}

struct Cpus(UnsafeCell<[PerCpu; MAX_CPUS]>);

// SAFETY: each CPU touches its own element only.
unsafe impl Sync for Cpus {}

const STACK_INIT: Stack = Stack([0; STACK]);

static CPUS: Cpus = Cpus(UnsafeCell::new(
    [const {
        PerCpu {
            index: 0,
            jump: 0,
            fault: Fault::NONE,
            gdt: [0; 7],
            task: Task {
                reserved: 0,
                rsp: [0; 3],
                unused: 0,
                ist: [0; 7],
                rest: [0],
                unused2: 0,
                io_map: 0,
            },
            kernel_stack: STACK_INIT,
            fault_stack: STACK_INIT,
            user_stack: STACK_INIT,
        }
    }; MAX_CPUS],
));

fn of(index: usize) -> *mut PerCpu {
    assert!(index < MAX_CPUS);
    // SAFETY: within the array.
    unsafe { CPUS.0.get().cast::<PerCpu>().add(index) }
}

/// This CPU's position.
pub fn index() -> usize {
    let index: u64;
    // SAFETY: GS's base is this CPU's area from `load` on.
    unsafe { asm!("mov {}, gs:[0]", out(reg) index, options(nostack, preserves_flags)) }
    index as usize
}

/// This CPU's area.
pub fn this() -> *mut PerCpu {
    of(index())
}

/// Top of the stack that user mode runs on.
pub fn user_stack() -> u64 {
    // SAFETY: only an address is taken.
    unsafe { (&raw const (*this()).user_stack) as u64 + STACK as u64 }
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Loads segments, task state, GS and the interrupt table of CPU `index`.
pub fn load(index: usize) {
    let cpu = of(index);
    // SAFETY: the area is this CPU's alone. The descriptors are flat (SDM
    // Vol. 3, 3.4.5), so that reloading changes no address.
    unsafe {
        (*cpu).index = index as u64;
        let top = |stack: *const Stack| stack as u64 + STACK as u64;
        (*cpu).task.rsp = [top(&raw const (*cpu).kernel_stack); 3];
        (*cpu).task.ist = [top(&raw const (*cpu).fault_stack); 7];
        (*cpu).task.io_map = size_of::<Task>() as u16;
        let task = (&raw const (*cpu).task) as u64;
        let low = 103 | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
        (*cpu).gdt = [
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            low,
            task >> 32,
        ];
        let gdt = Pointer { limit: 7 * 8 - 1, base: (&raw const (*cpu).gdt) as u64 };
        let idt = Pointer { limit: 4095, base: trap::table(index == 0) };
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "mov fs, {data:e}",
            "mov gs, {data:e}",
            "ltr {task:x}",
            gdt = in(reg) &gdt,
            idt = in(reg) &idt,
            code = in(reg) u64::from(CODE),
            data = in(reg) u32::from(DATA),
            task = in(reg) TASK,
            scratch = out(reg) _,
        );
    }
    wrmsr(GS_BASE, cpu as u64);
}
