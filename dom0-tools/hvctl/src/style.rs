// SPDX-License-Identifier: MIT OR Apache-2.0
//! Colour, where it is wanted, and writing to a standard output that may close.

use std::io::{ErrorKind, IsTerminal, Write};

/// Paints text, or does not.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Colour only on a terminal, and not with `NO_COLOR` or on a dumb one.
    fn for_terminal(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: terminal && !set("NO_COLOR") && !dumb }
    }

    /// For standard output.
    pub fn of_stdout() -> Self {
        Self::for_terminal(std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub fn of_stderr() -> Self {
        Self::for_terminal(std::io::stderr().is_terminal())
    }

    /// Never.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { on: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.into(),
        }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A domain's or vCPU's state in its colour.
    pub fn state(self, state: &str, text: &str) -> String {
        match state {
            "running" | "blocked" | "ready" => self.green(text),
            "crashed" => self.red(text),
            "paused" | "stopped" | "suspended" | "dying" => self.yellow(text),
            _ => text.into(),
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) ends the
/// program quietly; a full disk ends it with a message.
pub fn put(text: &str) {
    put_bytes(text.as_bytes());
}

/// As [`put`].
pub fn put_bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(bytes).and_then(|()| out.flush()) {
        if e.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("error: cannot write to standard output: {e}");
        std::process::exit(1);
    }
}

/// A line on standard error that the next one replaces; only where a person
/// sits at a terminal, so neither in a log nor in a script.
pub struct Progress {
    on: bool,
}

impl Progress {
    pub fn new() -> Self {
        let on = std::io::stderr().is_terminal() && std::io::stdin().is_terminal();
        Self { on }
    }

    pub fn say(&self, text: &str) {
        if self.on {
            eprint!("\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}
