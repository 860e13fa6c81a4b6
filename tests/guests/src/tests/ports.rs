// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest owns no I/O port: reads give ones in the bytes read and leave the
//! others, writes vanish, and string forms fault.

use core::arch::asm;

use hv_guest::cpu::{port_in, port_out};
use hv_guest::trap::catch;
use hv_guest::{Outcome, check, check_eq};

use crate::child;

fn child() -> Outcome {
    const BEFORE: u64 = 0x1122_3344_5566_7788;
    for port in [0, 0x20, 0x40, 0x60, 0x70, 0x80, 0xf4, 0x3f8, 0x3fd, 0xcf8, 0xcfc, 0x604, 0xffff] {
        for (size, wanted) in
            [(1, 0x1122_3344_5566_77ff), (2, 0x1122_3344_5566_ffff), (4, 0xffff_ffff)]
        {
            check_eq!(port_in(port, size, BEFORE), wanted, "port {port:#x}, {size} bytes");
            port_out(port, size, 0x1234_5601);
        }
    }
    let mut buffer = [0u8; 4];
    // SAFETY: the core refuses the string form; else it writes the buffer.
    let caught = catch(|| unsafe {
        asm!("rep insb", in("dx") 0x3f8_u16, inout("rdi") buffer.as_mut_ptr() => _,
            inout("rcx") 4_u64 => _)
    });
    check!(caught.is_err_and(|f| f.is_gp()) || buffer == [0xff; 4], "INS: {caught:?}");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
