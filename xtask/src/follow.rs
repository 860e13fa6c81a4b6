// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watches the log files of a running machine: the core's log for a panic,
//! the control domain's console for the output and exit code of `--exec`.
//!
//! The control domain's init prints the line `HV-EXEC-BEGIN`, the command's
//! bytes, a line break, and the line `HV-EXEC-EXIT: N`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};

const BEGIN: &[u8] = b"HV-EXEC-BEGIN";
const EXIT: &[u8] = b"\nHV-EXEC-EXIT: ";

/// Reads what a growing file gained since the last look.
pub struct Growing {
    path: PathBuf,
    seen: u64,
}

impl Growing {
    /// From the file's start.
    pub fn new(path: &std::path::Path) -> Growing {
        Growing { path: path.to_owned(), seen: 0 }
    }

    /// The new bytes, perhaps none.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let mut file = File::open(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        file.seek(SeekFrom::Start(self.seen))?;
        let mut new = Vec::new();
        file.read_to_end(&mut new)?;
        self.seen += new.len() as u64;
        Ok(new)
    }
}

/// Finds a line that starts with `PANIC:` in the core's log.
#[derive(Default)]
pub struct PanicWatch {
    line: Vec<u8>,
}

impl PanicWatch {
    /// Takes new bytes; true once a panic line has begun.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        for &b in bytes {
            if b == b'\n' || b == b'\r' {
                self.line.clear();
            } else if self.line.len() < 16 {
                self.line.push(b);
                if self.line.starts_with(b"PANIC:") {
                    return true;
                }
            }
        }
        false
    }
}

/// Cuts the command's output out of the console's bytes.
#[derive(Default)]
pub struct ExecParser {
    held: Vec<u8>,
    begun: bool,
    /// The command's exit code, once known.
    pub code: Option<i32>,
}

impl ExecParser {
    /// Takes new bytes and returns those that belong to the output.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.code.is_some() {
            return Vec::new();
        }
        self.held.extend_from_slice(bytes);
        if !self.begun {
            let Some(at) = find(&self.held, BEGIN) else {
                return Vec::new();
            };
            // The line break stays: it may be the one before the exit line.
            let Some(end) = self.held.iter().skip(at).position(|b| *b == b'\n') else {
                return Vec::new();
            };
            self.held.drain(..=at + end);
            self.begun = true;
        }
        if let Some(at) = find(&self.held, EXIT) {
            let rest = self.held.get(at + EXIT.len()..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|b| *b == b'\n' || *b == b'\r') {
                let digits = String::from_utf8_lossy(rest.get(..end).unwrap_or_default());
                self.code = Some(digits.trim().parse().unwrap_or(255));
                self.held.truncate(at);
                return std::mem::take(&mut self.held);
            }
            return self.held.drain(..at).collect();
        }
        // Keep back what may be the start of the exit line.
        let keep = (0..=EXIT.len().min(self.held.len()))
            .rev()
            .find(|n| self.held.ends_with(EXIT.get(..*n).unwrap_or_default()))
            .unwrap_or(0);
        self.held.drain(..self.held.len() - keep).collect()
    }

    /// Whether the command was reached at all.
    pub fn begun(&self) -> bool {
        self.begun
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `size` bytes.
    fn parse(text: &str, size: usize) -> (String, Option<i32>) {
        let mut parser = ExecParser::default();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            out.extend(parser.feed(piece));
        }
        (String::from_utf8(out).unwrap(), parser.code)
    }

    #[test]
    fn output_is_exact_however_it_arrives() {
        let text = "boot\r\nHV-EXEC-BEGIN\nab\n\nHV-EXEC x\n\nHV-EXEC-EXIT: 7\njunk";
        for size in 1..text.len() {
            assert_eq!(parse(text, size), ("ab\n\nHV-EXEC x\n".into(), Some(7)), "{size}");
        }
    }

    #[test]
    fn empty_output_and_no_marker() {
        assert_eq!(parse("HV-EXEC-BEGIN\n\nHV-EXEC-EXIT: 0\n", 5), (String::new(), Some(0)));
        assert_eq!(parse("HV-EXEC-EXIT: 0\n", 5), (String::new(), None));
        assert_eq!(parse("HV-EXEC-BEGIN\nx", 5), ("x".into(), None));
    }

    #[test]
    fn output_comes_at_once() {
        let mut parser = ExecParser::default();
        assert_eq!(parser.feed(b"HV-EXEC-BEGIN\nprogress 10%"), b"progress 10%");
    }

    #[test]
    fn a_panic_counts_only_at_the_start_of_a_line() {
        let mut watch = PanicWatch::default();
        assert!(!watch.feed(b"[ 0.1] INFO boot: noPANIC: here\nPAN"));
        assert!(watch.feed(b"IC: at once"));
    }
}
