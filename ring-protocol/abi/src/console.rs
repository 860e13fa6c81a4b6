// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console ring: one page, two byte queues, one event port.
//!
//! The guest writes `out` and reads `inp`; its backend does the opposite.
//! Indices run freely modulo 2^32 and are masked on use. Each side trusts
//! only its own index and checks that the other's is within the queue's
//! length of it.

/// Bytes from the backend to the guest.
pub const IN_LEN: usize = 1024;
/// Bytes from the guest to the backend.
pub const OUT_LEN: usize = 2048;

/// Byte offsets within the page.
pub mod offset {
    /// `u8[IN_LEN]`.
    pub const IN: usize = 0;
    /// `u8[OUT_LEN]`.
    pub const OUT: usize = super::IN_LEN;
    /// `u32`: written by the guest.
    pub const IN_CONSUMED: usize = super::IN_LEN + super::OUT_LEN;
    /// `u32`: written by the backend.
    pub const IN_PRODUCED: usize = IN_CONSUMED + 4;
    /// `u32`: written by the backend.
    pub const OUT_CONSUMED: usize = IN_CONSUMED + 8;
    /// `u32`: written by the guest.
    pub const OUT_PRODUCED: usize = IN_CONSUMED + 12;
}

const _: () = assert!(offset::OUT_PRODUCED + 4 <= crate::PAGE_SIZE as usize);
const _: () = assert!(IN_LEN.is_power_of_two() && OUT_LEN.is_power_of_two());
