// SPDX-License-Identifier: MIT OR Apache-2.0
//! A message that shows the line it is about, in rustc's manner:
//!
//! ```text
//! error: unknown key `memroy`
//!   --> web.toml:3:1
//!    |
//!  3 | memroy = "128M"
//!    | ^^^^^^ did you mean `memory`?
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text with a name: a file, or a word of the command line.
#[derive(Clone, Debug, Default)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

impl Source {
    /// A named text.
    pub fn new(name: &str, text: &str) -> Self {
        let (name, text) = (name.into(), text.into());
        Self { name, text }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// What.
    pub message: String,
    /// In which text.
    pub source: Source,
    /// Where in it, in bytes.
    pub span: Option<Range<usize>>,
    /// What to say at that place.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// The line a byte is in: number, column (both from 1) and its text.
struct Line<'a> {
    number: usize,
    column: usize,
    start: usize,
    text: &'a str,
}

impl Source {
    fn line(&self, at: usize) -> Line<'_> {
        // A span may end behind the text, or, with a broken parser, anywhere.
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let start = self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let text = self.text[start..].lines().next().unwrap_or("");
        Line {
            number: self.text[..start].matches('\n').count() + 1,
            column: self.text[start..at].chars().count() + 1,
            start,
            text,
        }
    }
}

impl Diagnostic {
    /// Line and column, both from 1.
    pub fn position(&self) -> Option<(usize, usize)> {
        let line = self.source.line(self.span.as_ref()?.start);
        Some((line.number, line.column))
    }

    fn show_span(&self, f: &mut fmt::Formatter<'_>, span: &Range<usize>) -> fmt::Result {
        let line = self.source.line(span.start);
        let number = line.number.to_string();
        let pad = " ".repeat(number.len());
        let name = &self.source.name;
        writeln!(f, "\n {pad}--> {name}:{number}:{}", line.column)?;
        writeln!(f, " {pad} |")?;
        // Tabs become one space each, so that the marks stay below.
        let text: String = line.text.replace('\t', " ");
        writeln!(f, " {number} | {}", text.trim_end())?;
        let rest = (line.start + line.text.len()).saturating_sub(span.start);
        let end = span.start + span.len().min(rest);
        let marked =
            self.source.text.get(span.start..end).map_or(1, |marked| marked.chars().count().max(1));
        let gap = " ".repeat(line.column - 1);
        let label = self.label.as_deref().unwrap_or("");
        let shown = format!(" {pad} | {gap}{} {label}", "^".repeat(marked));
        write!(f, "{}", shown.trim_end())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.span {
            Some(span) => self.show_span(f, span)?,
            None => {
                if !self.source.name.is_empty() {
                    write!(f, "\n  --> {}", self.source.name)?;
                }
                if let Some(label) = &self.label {
                    write!(f, "\n   = {label}")?;
                }
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n   = help: {help}"),
            None => Ok(()),
        }
    }
}
