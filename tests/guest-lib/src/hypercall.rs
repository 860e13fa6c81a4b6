// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making hypercalls. [`call`] takes a decoded call, so that every row of the
//! interface's table is a call here; [`raw`] makes any other.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

use hv_abi::{Hypercall, Status};

use crate::cpu;

/// Which instruction makes a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// VMCALL, on Intel.
    Vmcall,
    /// VMMCALL, on AMD.
    Vmmcall,
}

/// 0 not known yet, 1 VMCALL, 2 VMMCALL.
static DOOR: AtomicU8 = AtomicU8::new(0);

/// The instruction of this CPU's vendor.
pub fn door() -> Door {
    match DOOR.load(Ordering::Relaxed) {
        1 => return Door::Vmcall,
        2 => return Door::Vmmcall,
        _ => {}
    }
    let [_, b, c, d] = cpu::cpuid(0, 0);
    let amd = [b, d, c] == [0x6874_7541, 0x6974_6e65, 0x444d_4163]
        || [b, d, c] == [0x6f67_7948, 0x6e65_476e, 0x656e_6975];
    DOOR.store(if amd { 2 } else { 1 }, Ordering::Relaxed);
    if amd { Door::Vmmcall } else { Door::Vmcall }
}

/// Makes a call of any number; returns `rax` and `rdx`.
pub fn raw(number: u64, args: [u64; 5]) -> (u64, u64) {
    let (status, value);
    let [a, b, c, d, e] = args;
    macro_rules! through {
        ($instruction:literal) => {
            // SAFETY: the core reads these registers and changes only rax and
            // rdx; memory it writes is named by the arguments, by address, and
            // the asm block is a compiler barrier for all memory.
            unsafe {
                asm!($instruction, inlateout("rax") number => status, in("rdi") a, in("rsi") b,
                    inlateout("rdx") c => value, in("r10") d, in("r8") e, options(nostack))
            }
        };
    }
    match door() {
        Door::Vmcall => through!("vmcall"),
        Door::Vmmcall => through!("vmmcall"),
    }
    (status, value)
}

/// Makes a call of the table: its value, or the status that refused it.
pub fn call(call: Hypercall) -> Result<u64, Status> {
    let (number, args) = call.encode();
    let (status, value) = raw(number, args);
    match Status::from_code(status) {
        Some(Status::Ok) => Ok(value),
        Some(status) => Err(status),
        // A status of a newer interface: none of ours is as wrong as NoCall.
        None => Err(Status::NoCall),
    }
}

/// The core, with a method for each row of the table.
pub struct Hv;

impl hv_abi::Door for Hv {
    type Error = Status;

    fn make(&self, it: Hypercall) -> Result<u64, Status> {
        call(it)
    }
}

/// The address of a value, as hypercalls want it.
pub fn gpa<T: ?Sized>(value: &T) -> u64 {
    core::ptr::from_ref(value).cast::<u8>() as u64
}

/// The address of a value that the core is to write.
pub fn gpa_mut<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// Stops this domain; for the runner's children.
pub fn shutdown(reason: u32, code: u64) -> ! {
    loop {
        // Refused only for an unknown reason; then there is nothing to do.
        let _ = call(Hypercall::SchedShutdown { reason: reason.into(), code });
    }
}
