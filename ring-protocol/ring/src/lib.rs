// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte queues in memory that is shared with a peer nobody trusts.
//!
//! A queue is `2^n` bytes and two indices that run freely modulo 2^32. The
//! [`Producer`] owns one index, the [`Consumer`] the other; each keeps its own
//! index in private memory and only *publishes* it. The peer's index is loaded
//! once per operation and checked before it is used (`copy-once-validate-index`):
//! whatever a peer writes, an operation touches no byte outside the queue and
//! ends. The signature everything shares:
//!
//! ```text
//! fn push(&mut self, memory: &impl RingMemory, bytes: &[u8]) -> Result<usize, PeerFault>
//! ```
//!
//! How bytes and indices are reached is the [`RingMemory`]'s business, so this
//! crate needs no unsafe code and its tests run over plain memory, over random
//! peers and over loom's. Neighbours: `hv-abi` says where the console's queues
//! lie; `hv-client` implements [`RingMemory`] for mapped pages.
#![no_std]
#![forbid(unsafe_code)]

pub mod console;
mod queue;

pub use queue::{Consumer, Layout, PeerFault, Producer};

/// Shared memory, by byte offset.
///
/// The queues call this only with offsets inside their [`Layout`]: indices at
/// 4-byte-aligned offsets, bytes within the data area.
pub trait RingMemory {
    /// Loads an index. What the peer wrote before it published this value must
    /// be visible afterwards (acquire).
    fn load_index(&self, offset: usize) -> u32;

    /// Publishes an index. Everything done before must be visible to a peer
    /// that sees it (release).
    fn store_index(&self, offset: usize, value: u32);

    /// Copies bytes out of the shared memory, each read exactly once.
    fn read_bytes(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes into the shared memory.
    fn write_bytes(&self, offset: usize, from: &[u8]);
}
