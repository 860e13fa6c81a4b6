// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting further vCPUs by INIT and start-up IPI (SDM Vol. 3, 9.4.4), for
//! children: vCPU n has APIC id n.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::apic::{self, kind};
use crate::descriptor::MAX_CPUS;
use crate::{cpu, start};

global_asm!(include_str!("smp.s"), options(att_syntax));

unsafe extern "C" {
    static hv_guest_trampoline: u8;
    static hv_guest_trampoline_fields: u8;
    static hv_guest_trampoline_end: u8;
}

/// The page that further vCPUs begin in; smp.s knows it as well.
pub const PAGE: u64 = 0x8000;

const STACK: usize = 0x4000;

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; STACK]; MAX_CPUS]>);

// SAFETY: each CPU uses its own.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; MAX_CPUS]));
static MAIN: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static ONLINE: AtomicU64 = AtomicU64::new(1);

/// vCPUs that run, one bit each.
pub fn online() -> u64 {
    ONLINE.load(Ordering::SeqCst)
}

/// Starts vCPU `index` in `main`; true once it is there, within `ms`.
pub fn start(index: usize, main: fn(usize), ms: u64) -> bool {
    assert!(index > 0 && index < MAX_CPUS);
    MAIN.store(main as *mut (), Ordering::SeqCst);
    place(index);
    let to = index as u32;
    apic::send(to, kind::INIT);
    cpu::spin_us(200);
    apic::send(to, kind::STARTUP | PAGE >> 12);
    let end = cpu::tsc() + ms * cpu::khz();
    while cpu::tsc() < end {
        if online() >> index & 1 == 1 {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// Puts the trampoline into its page.
fn place(index: usize) {
    // SAFETY: the page is a child's own low memory, used for nothing else;
    // the fields lie within the block.
    unsafe {
        let from = &raw const hv_guest_trampoline;
        let length = (&raw const hv_guest_trampoline_end) as usize - from as usize;
        core::ptr::copy_nonoverlapping(from, PAGE as *mut u8, length);
        let fields = (&raw const hv_guest_trampoline_fields) as u64 - from as u64 + PAGE;
        let fields = fields as *mut [u64; 3];
        let stack = STACKS.0.get() as u64 + ((index + 1) * STACK) as u64;
        fields.write([start::tables(), stack, index as u64]);
    }
}

#[unsafe(no_mangle)]
extern "C" fn hv_guest_further(index: usize) -> ! {
    start::prepare(index);
    ONLINE.fetch_or(1 << index, Ordering::SeqCst);
    // SAFETY: `start` stored a `fn(usize)`.
    let main = unsafe { core::mem::transmute::<*mut (), fn(usize)>(MAIN.load(Ordering::SeqCst)) };
    main(index);
    cpu::halt_forever()
}
