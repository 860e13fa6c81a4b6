// SPDX-License-Identifier: MIT OR Apache-2.0
//! What shall happen to a vCPU after its exit was handled.

use hv_abi::Status;

/// The next step; only the vCPU loop takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Enter it again.
    Resume,
    /// It waits for an interrupt that it would take.
    Block,
    /// It waits until an interrupt is pending, whether it lets it in or not:
    /// so it can look and then wait with nothing coming in between.
    Wait,
    /// The same, or until this TSC, or until a port it polls is pending.
    Poll(u64),
    /// It lets others run first.
    Yield,
    /// Its domain stops, for this reason and with this code.
    Stop(u32, u64),
}

/// What a hypercall answers: a value, or a refusal.
pub type Answer = Result<u64, Status>;
