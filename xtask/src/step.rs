// SPDX-License-Identifier: MIT OR Apache-2.0
//! Steps: one progress line each on standard error, and child processes whose
//! full output goes to a log file and whose failure shows that log's tail.
//!
//! Standard output stays free for results (`--exec` output, paths), so that
//! `cargo xtask` can stand in a pipe.

use std::fs::{self, File};
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::place;

/// How much of a failing step's log is shown.
const TAIL_LINES: usize = 40;

/// Runs `work` under a progress line: name first, elapsed time when done.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    // The name at once, so that a log shows what hangs.
    eprint!("hv: {name} ... ");
    stderr().flush().ok();
    let result = work();
    let took = start.elapsed().as_secs_f32();
    let word = if result.is_ok() { "" } else { "FAILED after " };
    eprintln!("{word}{took:.1} s");
    result
}

/// A plain remark to the user.
pub fn note(text: &str) {
    eprintln!("hv: {text}");
}

/// Runs `command` with all output into `log`; an error carries the log's tail.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))?;
    writeln!(file, "+ {}", line(command))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    if !status.success() {
        bail!(
            "`{}` ended with {status}; the end of {}:\n{}",
            command.get_program().display(),
            log.display(),
            tail(log, TAIL_LINES)
        );
    }
    Ok(())
}

/// A fresh log file for the step called `name`.
pub fn log_file(name: &str) -> Result<PathBuf> {
    let path = place::scratch("logs")?.join(format!("{name}.log"));
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Runs `command` with its output on the terminal.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Standard output of `command`, trimmed; an error carries its complaint.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    if !out.status.success() {
        let complaint = String::from_utf8_lossy(&out.stderr);
        bail!("`{}` ended with {}: {}", line(command), out.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The last `lines` lines of a file, with control characters made harmless.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    let mut out = String::new();
    for l in all.iter().skip(from) {
        out.push_str("    ");
        out.extend(l.chars().filter(|c| !c.is_control() || *c == '\t'));
        out.push('\n');
    }
    if out.is_empty() {
        out.push_str("    (empty)\n");
    }
    out
}

/// A command as one readable line.
pub fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines_and_no_escapes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "a\nb\x1b[2J\r\nc\n").unwrap();
        assert_eq!(tail(file.path(), 2), "    b[2J\n    c\n");
    }

    #[test]
    fn a_failing_command_shows_its_log() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let err =
            logged(Command::new("sh").args(["-c", "echo oh no; exit 3"]), file.path()).unwrap_err();
        assert!(err.to_string().contains("oh no"), "{err}");
    }
}
