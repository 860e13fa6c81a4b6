// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events: a port is a one-bit doorbell between two domains, between vCPUs,
//! or from the core. [`ports`] has the ports and their joins, [`protocol`]
//! what races there, [`ring`] the shared memory through which a domain learns
//! of them, [`virq`](mod@virq) those that the core itself raises.
//!
//! The word's bits and the ring's protocol are described in `hv_abi::event`.

#[cfg(test)]
mod loom_tests;
pub mod memory;
#[cfg(test)]
mod model_tests;
pub mod ports;
pub mod protocol;
pub mod ring;
pub mod virq;

pub use memory::{forget as forget_memory, register_ring, register_words};
pub use ports::{Ports, close_some};
pub use ring::Ring;
pub use virq::{raise_control, raise_virq};
