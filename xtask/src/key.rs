// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content keys of cache entries.
//!
//! Every part is hashed with its name and length, so that two different sets
//! of parts never give one key.

use sha2::{Digest, Sha256};

/// The SHA-256 of `bytes`, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Collects the parts of a key.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    /// A key for one kind of cache entry; `kind` may carry a format version.
    pub fn new(kind: &str) -> Key {
        Key::default().part("kind", kind.as_bytes())
    }

    /// Adds bytes under a name.
    pub fn part(mut self, name: &str, bytes: &[u8]) -> Key {
        for piece in [name.as_bytes(), bytes] {
            self.0.update((piece.len() as u64).to_le_bytes());
            self.0.update(piece);
        }
        self
    }

    /// Sixteen hex digits: enough for a cache, short enough for a path.
    pub fn hex(self) -> String {
        self.0.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let a = Key::new("t").part("x", b"ab").part("y", b"c").hex();
        let b = Key::new("t").part("x", b"a").part("y", b"bc").hex();
        assert_ne!(a, b);
        assert_eq!(a.len(), 16);
    }
}
