// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text of bounded length, for messages where there is no heap.

use core::fmt::{Arguments, Debug, Display, Formatter, Result, Write};

/// Longest message; what is longer is cut.
pub const LEN: usize = 160;

/// A message.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; LEN],
    len: usize,
}

impl Text {
    /// An empty text.
    pub const fn new() -> Self {
        Self { bytes: [0; LEN], len: 0 }
    }

    /// What `format_args!` makes, cut to [`LEN`].
    pub fn of(arguments: Arguments<'_>) -> Self {
        let mut text = Self::new();
        // Writing cuts instead of failing.
        let _ = text.write_fmt(arguments);
        text
    }

    /// The text; a character cut in two is left out.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                core::str::from_utf8(bytes.get(..e.valid_up_to()).unwrap_or_default()).unwrap_or("")
            }
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.as_str())
    }
}

impl Debug for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "ä".repeat(LEN);
        let text = Text::of(format_args!("x{long}"));
        assert_eq!(text.as_str().len(), LEN - 1);
        assert_eq!(Text::of(format_args!("{}-{}", 1, "b")).to_string(), "1-b");
    }
}
