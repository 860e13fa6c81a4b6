// SPDX-License-Identifier: MIT OR Apache-2.0
//! ConsoleWrite: across a page boundary, and every refusal.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa};
use hv_guest::{Outcome, check_eq, start};

use crate::child;

static TEXT: &str = "a line that crosses a page boundary, as far as the core is concerned";

fn child() -> Outcome {
    let write = |gpa, len| call(H::ConsoleWrite { gpa, len });
    // Low memory is the child's own and unused from 0x10000 on.
    let at = 0x1_1000 - 20;
    // SAFETY: as said; nothing else refers to it.
    unsafe { core::ptr::copy_nonoverlapping(TEXT.as_ptr(), at as *mut u8, TEXT.len()) };
    let len = TEXT.len() as u64;
    check_eq!(write(at, len), Ok(len));
    check_eq!(write(gpa(TEXT), 1), Ok(1));
    check_eq!(write(at, 256), Ok(256));
    for len in [0, 257, 4096, 1 << 32, u64::MAX] {
        check_eq!(write(at, len), Err(Status::Invalid), "length {len:#x}");
    }
    let end = child::image_extents();
    let end = end.0 + end.1 * 4096;
    for at in [0x20_0000 - 1, 0x20_0000, end - 10, end, 0xfee0_0000, 1 << 46, u64::MAX - 10] {
        check_eq!(write(at, 20), Err(Status::Fault), "address {at:#x}");
    }
    check_eq!(write(start::image().start - 1, 1), Err(Status::Fault));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    child::run(child)
}
