// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts that others post to a vCPU, until the vCPU takes them. Anybody
//! may post, at any time; only the CPU that runs the vCPU takes.
//!
//! The form is that of VT-x's posted-interrupt descriptor (SDM Vol. 3, 30.6),
//! so that a CPU which can take from it finds it so.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

/// One vCPU's.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Mailbox {
    vectors: [AtomicU64; 4],
    /// Bit 0, ON, is for those who send a poke only once; not used.
    control: AtomicU64,
    reserved: [u64; 3],
}

const _: () = assert!(size_of::<Mailbox>() == 64 && offset_of!(Mailbox, control) == 32);

impl Mailbox {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            vectors: [const { AtomicU64::new(0) }; 4],
            control: AtomicU64::new(0),
            reserved: [0; 3],
        }
    }

    /// Posts a vector; true when it was not posted already.
    pub fn post(&self, vector: u8) -> bool {
        let bit = 1u64 << (vector & 63);
        self.vectors
            .get(usize::from(vector >> 6))
            .is_some_and(|word| word.fetch_or(bit, Ordering::SeqCst) & bit == 0)
    }

    /// Takes all of them.
    pub fn take(&self) -> [u64; 4] {
        let mut taken = [0; 4];
        for (into, from) in taken.iter_mut().zip(&self.vectors) {
            // A plain look first: mostly there is nothing, and an exchange is
            // a locked instruction.
            if from.load(Ordering::SeqCst) != 0 {
                *into = from.swap(0, Ordering::SeqCst);
            }
        }
        taken
    }

    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.vectors.iter().all(|word| word.load(Ordering::SeqCst) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_taken_once() {
        let mailbox = Mailbox::new();
        assert!(mailbox.is_empty());
        assert!(mailbox.post(0xff) && !mailbox.post(0xff) && mailbox.post(0x31));
        assert!(!mailbox.is_empty());
        assert_eq!(mailbox.take(), [1 << 0x31, 0, 0, 1 << 63]);
        assert_eq!(mailbox.take(), [0; 4]);
        assert!(mailbox.is_empty());
    }
}
