// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio drivers for micro-guests, over device pages (`hv_io`): what Linux's
//! transport and drivers do, as small as it goes, so that bare guests can try
//! and measure the path to a backend.
//!
//! - [`device`]: a slot's page and the handshake.
//! - [`queue`]: the driver's half of a split virtqueue (virtio 1.2, 2.7).
//! - [`block`], [`net`]: requests and packets on them.
//!
//! Addresses are given to the device as they are: a micro-guest's memory is
//! mapped one to one. One vCPU uses a device; waiting is [`wait`].

pub mod block;
pub mod device;
pub mod net;
pub mod queue;

use hv_abi::Hypercall;

use crate::hypercall::call;
use crate::{Outcome, cpu, failure};

/// How long a device may take for anything, in milliseconds.
pub const PATIENCE: u64 = 10_000;

/// Blocks this vCPU until `done`, which is looked at after each event; fails
/// after [`PATIENCE`]. Interrupts are let in only between looking and
/// blocking, so that no event comes between the two.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) -> Outcome {
    let end = cpu::tsc() + PATIENCE * cpu::khz();
    while !done() {
        if cpu::tsc() > end {
            return Err(failure!("{what} did not come"));
        }
        crate::apic::deadline(crate::apic::SLEEP, end);
        let blocked = call(Hypercall::SchedBlock {});
        cpu::let_in();
        if let Err(status) = blocked {
            return Err(failure!("SchedBlock: {status:?}"));
        }
    }
    Ok(())
}
