// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions and interrupts. [`catch`] runs a closure and gives back the
//! fault it raised, in kernel or user mode; [`on`] puts a handler on a vector.
//! An exception that nobody expects ends this copy with a message.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::descriptor::{self, CODE, DATA, USER_CODE, USER_DATA};
use crate::text::Text;
use crate::{apic, cpu, start};

global_asm!(include_str!("trap.s"), options(att_syntax));

unsafe extern "C" {
    static hv_guest_traps: u8;
    fn hv_guest_catch(function: unsafe extern "C" fn(*mut u8), argument: *mut u8) -> u64;
    fn hv_guest_landing();
}

/// Exception vectors (SDM Vol. 3, table 7-1).
pub mod vector {
    #![allow(missing_docs)]
    pub const DEBUG: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BREAKPOINT: u8 = 3;
    pub const INVALID_OPCODE: u8 = 6;
    pub const DOUBLE_FAULT: u8 = 8;
    pub const GENERAL_PROTECTION: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const ALIGNMENT: u8 = 17;
}

/// A fault that was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fault {
    /// Exception vector.
    pub vector: u8,
    /// It came from user mode.
    pub user: bool,
    /// Error code, or 0.
    pub error: u64,
    /// Where.
    pub rip: u64,
    /// Address, of a page fault.
    pub address: u64,
}

impl Fault {
    /// No fault.
    pub const NONE: Self = Self { vector: 0, user: false, error: 0, rip: 0, address: 0 };

    /// #GP with error code 0.
    pub fn is_gp(&self) -> bool {
        self.vector == vector::GENERAL_PROTECTION && self.error == 0
    }

    /// #UD.
    pub fn is_ud(&self) -> bool {
        self.vector == vector::INVALID_OPCODE
    }
}

/// What trap.s stores.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Frame {
    pub registers: [u64; 15],
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// A handler.
pub type Handler = fn(&mut Frame);

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];
static COUNTS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// How often a vector was taken, on all CPUs.
pub fn count(vector: u8) -> u64 {
    COUNTS[usize::from(vector)].load(Ordering::SeqCst)
}

/// Puts a handler on a vector. An interrupt (from 32 on) is acknowledged
/// behind it; an interrupt without a handler is only counted.
pub fn on(vector: u8, handler: Handler) {
    HANDLERS[usize::from(vector)].store(handler as *mut (), Ordering::SeqCst);
}

/// Takes the handler off again.
pub fn off(vector: u8) {
    HANDLERS[usize::from(vector)].store(core::ptr::null_mut(), Ordering::SeqCst);
}

#[repr(C, align(4096))]
struct Gates(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written by CPU 0 before others start, and by `set_gate`, whose
// contract says so.
unsafe impl Sync for Gates {}

static GATES: Gates = Gates(UnsafeCell::new([[0; 2]; 256]));

/// The interrupt table's address; the first CPU fills it.
pub fn table(first: bool) -> u64 {
    if first {
        for vector in 0..=255u8 {
            // Entries are 16 bytes each.
            let entry = (&raw const hv_guest_traps) as u64 + u64::from(vector) * 16;
            // A double fault has a stack of its own. Breakpoints may come
            // from user mode (gates: SDM Vol. 3, 7.14.1).
            let ist = u64::from(vector == vector::DOUBLE_FAULT);
            let user = if vector == vector::BREAKPOINT { 0xee } else { 0x8e };
            set_gate(vector, entry, ist | user << 8);
        }
    }
    GATES.0.get() as u64
}

/// Sets one gate: IST in bits 2:0, type and rights in bits 15:8.
pub fn set_gate(vector: u8, entry: u64, attributes: u64) {
    let low = entry & 0xffff
        | u64::from(CODE) << 16
        | (attributes & 0xffff) << 32
        | (entry >> 16 & 0xffff) << 48;
    let gate = [low, entry >> 32];
    // SAFETY: this CPU fills the table while no other uses this gate.
    unsafe { (*GATES.0.get())[usize::from(vector)] = gate }
}

#[unsafe(no_mangle)]
extern "C" fn hv_guest_trap(frame: &mut Frame) {
    let vector = frame.vector as u8;
    COUNTS[usize::from(vector)].fetch_add(1, Ordering::SeqCst);
    let handler = HANDLERS[usize::from(vector)].load(Ordering::SeqCst);
    if !handler.is_null() {
        // SAFETY: only `on` stores here, and it stores a `Handler`.
        let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
        handler(frame);
    }
    if vector >= 32 {
        apic::end();
        return;
    }
    if !handler.is_null() {
        return;
    }
    let cpu = descriptor::this();
    let fault = Fault {
        vector,
        user: frame.cs & 3 != 0,
        error: frame.error,
        rip: frame.rip,
        address: if vector == vector::PAGE_FAULT { cpu::cr2() } else { 0 },
    };
    // SAFETY: the CPU's own area; a `catch` that waits has set `jump` to its
    // frame, which lies below in the same stack or in one that user mode left.
    unsafe {
        if (*cpu).jump == 0 {
            start::die(&Text::of(format_args!(
                "unexpected exception {vector}, error {:#x}, at {:#x}, address {:#x}",
                fault.error, fault.rip, fault.address
            )));
        }
        (*cpu).fault = fault;
        frame.rsp = (*cpu).jump;
    }
    frame.rip = hv_guest_landing as *const () as u64;
    frame.cs = u64::from(CODE);
    frame.ss = u64::from(DATA);
    frame.rflags = 2;
}

/// Runs `f`; a fault in it ends it there and is returned. Values that `f`
/// holds are not dropped then.
pub fn catch<T, F: FnOnce() -> T>(f: F) -> Result<T, Fault> {
    struct Job<T, F> {
        f: Option<F>,
        value: MaybeUninit<T>,
    }
    unsafe extern "C" fn go<T, F: FnOnce() -> T>(job: *mut u8) {
        // SAFETY: `catch` passes its job, which nobody else touches now.
        let job = unsafe { &mut *job.cast::<Job<T, F>>() };
        if let Some(f) = job.f.take() {
            job.value.write(f());
        }
    }
    let mut job = Job { f: Some(f), value: MaybeUninit::uninit() };
    // SAFETY: `go` gets what it expects; hv_guest_catch keeps all registers
    // that the ABI asks to keep on both of its ways out.
    let caught = unsafe { hv_guest_catch(go::<T, F>, (&raw mut job).cast()) };
    if caught == 0 {
        // SAFETY: `go` came back, so it wrote the value.
        Ok(unsafe { job.value.assume_init() })
    } else {
        // SAFETY: this CPU's own area.
        Err(unsafe { (*descriptor::this()).fault })
    }
}

/// Runs `f` in user mode until it faults. It must not return.
pub fn user(f: extern "C" fn() -> !) -> Fault {
    let stack = descriptor::user_stack() - 8;
    let caught = catch(|| {
        // SAFETY: IRET to user mode (SDM Vol. 2, IRET) at a function that
        // does not return, on a stack of its own; the fault that ends it goes
        // back to the `catch` around.
        unsafe {
            asm!(
                "push {ss}", "push {rsp}", "push 2", "push {cs}", "push {rip}", "iretq",
                ss = in(reg) u64::from(USER_DATA),
                rsp = in(reg) stack,
                cs = in(reg) u64::from(USER_CODE),
                rip = in(reg) f as *const () as u64,
                options(noreturn)
            )
        }
    });
    match caught {
        Err(fault) => fault,
    }
}
