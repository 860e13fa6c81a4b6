// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mailbox: a page at the same address in every copy of the image,
//! through which the runner and a child talk while the child runs. All
//! fields are atomics: both sides may touch them at any time.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::text::{LEN, Text};

/// The page.
#[repr(C, align(4096))]
pub struct Mailbox {
    /// From the runner.
    pub to: [AtomicU64; 32],
    /// From the child.
    pub from: [AtomicU64; 32],
    /// What went wrong in the child: 0 nothing, 1 skip, 2 error, 3 failure.
    pub kind: AtomicU64,
    len: AtomicU64,
    text: [AtomicU8; LEN],
}

/// This copy's mailbox.
pub static MAIL: Mailbox = Mailbox {
    to: [const { AtomicU64::new(0) }; 32],
    from: [const { AtomicU64::new(0) }; 32],
    kind: AtomicU64::new(0),
    len: AtomicU64::new(0),
    text: [const { AtomicU8::new(0) }; LEN],
};

impl Mailbox {
    /// A word from the runner.
    pub fn to(&self, index: usize) -> u64 {
        self.to[index].load(Ordering::SeqCst)
    }

    /// Sets a word for the child.
    pub fn tell(&self, index: usize, value: u64) {
        self.to[index].store(value, Ordering::SeqCst);
    }

    /// A word from the child.
    pub fn from(&self, index: usize) -> u64 {
        self.from[index].load(Ordering::SeqCst)
    }

    /// Sets a word for the runner.
    pub fn answer(&self, index: usize, value: u64) {
        self.from[index].store(value, Ordering::SeqCst);
    }

    /// Leaves a message.
    pub fn put_text(&self, kind: u64, text: &Text) {
        let bytes = text.as_str().as_bytes();
        for (slot, byte) in self.text.iter().zip(bytes) {
            slot.store(*byte, Ordering::Relaxed);
        }
        self.len.store(bytes.len() as u64, Ordering::Relaxed);
        self.kind.store(kind, Ordering::SeqCst);
    }

    /// The message.
    pub fn text(&self) -> Text {
        let mut bytes = [0u8; LEN];
        let len = (self.len.load(Ordering::Relaxed) as usize).min(LEN);
        for (slot, byte) in bytes.iter_mut().zip(&self.text) {
            *slot = byte.load(Ordering::Relaxed);
        }
        let text = core::str::from_utf8(&bytes[..len]).unwrap_or("?");
        Text::of(format_args!("{text}"))
    }
}
