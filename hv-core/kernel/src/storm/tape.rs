// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the storm's programs read their decisions from: bytes made from a
//! seed, or bytes that somebody made.

use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// Where a program's decisions come from.
pub trait Tape: Send {
    /// Eight more bytes, or `None` at the tape's end.
    fn word(&mut self) -> Option<u64>;
}

/// An endless tape: xorshift64* (Marsaglia, Vigna).
pub struct Seeded(u64);

impl Seeded {
    /// The tape of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }
}

impl Tape for Seeded {
    fn word(&mut self) -> Option<u64> {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        Some(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }
}

/// A tape that somebody made; all programs of a machine share it.
#[derive(Clone)]
pub struct Made(Arc<Mutex<(Vec<u8>, usize)>>);

impl Made {
    /// A tape with these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new((bytes.to_vec(), 0))))
    }

    /// Everything was read.
    pub fn is_over(&self) -> bool {
        self.0.lock().is_ok_and(|tape| tape.1 >= tape.0.len())
    }
}

impl Tape for Made {
    fn word(&mut self) -> Option<u64> {
        let mut tape = self.0.lock().ok()?;
        let (bytes, at) = &mut *tape;
        let rest = bytes.get(*at..).filter(|rest| !rest.is_empty())?;
        let mut word = [0; 8];
        word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        *at += 8;
        Some(u64::from_le_bytes(word))
    }
}
