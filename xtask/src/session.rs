// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot of a machine with a command line to run in the control domain:
//! the door that `run --exec`, the system tests and benchmarks share.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use regex_lite::Regex;

use crate::bed::{Machine, Running};
use crate::follow::{ExecParser, Growing, PanicWatch};
use crate::step::{note, tail};
use crate::symbolize;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ran and ended with this code.
    Exit(i32),
    /// The core's log has everything that was waited for.
    Logged,
    /// The core said why it can't start.
    Refused,
    /// The core panicked.
    Panic,
    /// The machine went off before the command had ended.
    Off {
        /// Whether the command had been started.
        begun: bool,
    },
    /// Time was up.
    Timeout {
        /// Whether the command had been started.
        begun: bool,
    },
}

impl Outcome {
    /// The exit code that stands for this outcome.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Exit(code) => u8::try_from(code).unwrap_or(255),
            Outcome::Logged => 0,
            Outcome::Panic => 123,
            Outcome::Timeout { .. } => 124,
            Outcome::Off { .. } | Outcome::Refused => 125,
        }
    }

    /// What happened, in words.
    pub fn describe(self) -> String {
        let what = |begun| if begun { "while the command ran" } else { "before its shell came up" };
        match self {
            Outcome::Exit(code) => format!("the command ended with {code}"),
            Outcome::Logged => "the core's log says what it should".to_owned(),
            Outcome::Refused => "the core refused to start".to_owned(),
            Outcome::Panic => "the core panicked".to_owned(),
            Outcome::Off { begun } => format!("the machine went off {}", what(begun)),
            Outcome::Timeout { begun } => format!("time was up {}", what(begun)),
        }
    }
}

/// What a session leaves behind.
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The command's output.
    pub output: Vec<u8>,
    /// Whether the machine went off by itself after the command.
    pub powered_off: bool,
    /// The core's log, the console, the emulator's own words.
    pub logs: [PathBuf; 3],
    /// After a panic: the names of its backtrace.
    trace: String,
}

impl Report {
    /// The core's log.
    pub fn core_log(&self) -> &Path {
        let [core, _, _] = &self.logs;
        core
    }

    /// The ends of all logs, for a failure.
    pub fn tails(&self, lines: usize) -> String {
        tails(&self.logs, lines) + &self.trace
    }
}

/// Time a machine has for switching itself off after the command.
const POWER_OFF: Duration = Duration::from_secs(20);

/// Boots `machine` and follows its command; `sink` gets output as it comes.
/// With `until`, the session ends once the core's log matches all of it.
pub fn exec(
    machine: &Machine,
    limit: Duration,
    until: &[Regex],
    sink: &mut dyn FnMut(&[u8]),
) -> Result<Report> {
    let mut running = machine.start()?;
    let logs = logs_of(&running);
    let mut watch = Watch::new(&running);
    let mut parser = ExecParser::default();
    let mut console = Growing::new(&running.console_log);
    let mut output = Vec::new();
    let start = Instant::now();
    let mut done: Option<Instant> = None;
    let outcome = loop {
        let look = Instant::now();
        // Order matters: what was written before the end must be read.
        let ended = running.ended()?;
        let panicked = watch.panicked()?;
        let new = parser.feed(&console.read()?);
        sink(&new);
        output.extend(new);
        if panicked {
            // Let the rest of the report reach the file.
            sleep(Duration::from_millis(700));
            watch.panicked()?;
            break if watch.matches(until) { Outcome::Logged } else { Outcome::Panic };
        }
        if watch.matches(until) {
            break Outcome::Logged;
        }
        if watch.refused() {
            break Outcome::Refused;
        }
        let begun = parser.begun();
        match (parser.code, done) {
            (Some(code), _) if ended => break Outcome::Exit(code),
            (Some(code), Some(since)) if since.elapsed() > POWER_OFF => break Outcome::Exit(code),
            (Some(_), None) => done = Some(Instant::now()),
            (None, _) if ended => break Outcome::Off { begun },
            (None, _) if start.elapsed() > limit => break Outcome::Timeout { begun },
            _ => {}
        }
        sleep(pause(look.elapsed()));
    };
    let powered_off = running.ended()?;
    running.kill();
    let trace = match outcome {
        Outcome::Panic => trace(machine, &watch),
        _ => String::new(),
    };
    Ok(Report { outcome, output, powered_off, logs, trace })
}

/// How long until the next look, after one that took so long: patterns are
/// looked for in all of a log, and the machine shall have the CPU.
fn pause(look: Duration) -> Duration {
    (look * 20).clamp(Duration::from_millis(30), Duration::from_secs(1))
}

/// A session on the terminal, until the machine goes off.
pub fn interactive(machine: &Machine) -> Result<u8> {
    let mut running = machine.start()?;
    let logs = logs_of(&running);
    let mut watch = Watch::new(&running);
    let start = Instant::now();
    loop {
        let ended = running.ended()?;
        if watch.panicked()? {
            sleep(Duration::from_millis(700));
            running.terminate();
            watch.panicked()?;
            let report = tails(&logs[..1], 40) + &trace(machine, &watch);
            note(&format!("the core panicked\n{report}"));
            return Ok(Outcome::Panic.code());
        }
        if watch.refused() {
            running.terminate();
            note(&format!("the core refused to start\n{}", tails(&logs[..1], 20)));
            return Ok(Outcome::Refused.code());
        }
        if ended {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    if start.elapsed() < Duration::from_secs(2) {
        note(&format!("the machine went off at once\n{}", tails(&logs, 20)));
        return Ok(Outcome::Off { begun: false }.code());
    }
    Ok(0)
}

/// Functions and lines of the addresses in a panic's report.
fn trace(machine: &Machine, watch: &Watch) -> String {
    let text = String::from_utf8_lossy(&watch.text);
    let start = text.rfind("backtrace").unwrap_or(0);
    let addresses = symbolize::in_text(text.get(start..).unwrap_or(""));
    // The flat image lies next to the ELF it was made of.
    let elf = machine.boot.core.with_extension("");
    match symbolize::lookup(&elf, &addresses) {
        Ok(names) if !names.is_empty() => format!("  where that was:\n{names}"),
        _ => String::new(),
    }
}

struct Watch {
    log: Growing,
    watch: PanicWatch,
    text: Vec<u8>,
    /// There is text that `refused` or `matches` has not looked at.
    fresh: [bool; 2],
}

impl Watch {
    fn new(running: &Running) -> Watch {
        Watch {
            log: Growing::new(&running.core_log),
            watch: PanicWatch::default(),
            text: Vec::new(),
            fresh: [true; 2],
        }
    }

    fn panicked(&mut self) -> Result<bool> {
        let new = self.log.read()?;
        if !new.is_empty() {
            self.text.extend_from_slice(&new);
            self.fresh = [true; 2];
        }
        Ok(self.watch.feed(&new))
    }

    /// Whether the core has said that it can't start, to the line's end.
    fn refused(&mut self) -> bool {
        let [fresh, _] = &mut self.fresh;
        if !std::mem::take(fresh) {
            return false;
        }
        let text = String::from_utf8_lossy(&self.text);
        let said = text.split_once("error start: the core can't start");
        said.is_some_and(|(_, why)| why.contains('\n'))
    }

    /// Whether the log so far matches every pattern (never, without any).
    fn matches(&mut self, until: &[Regex]) -> bool {
        let [_, fresh] = &mut self.fresh;
        if !std::mem::take(fresh) {
            return false;
        }
        let text = String::from_utf8_lossy(&self.text);
        !until.is_empty() && until.iter().all(|r| r.is_match(&text))
    }
}

fn logs_of(running: &Running) -> [PathBuf; 3] {
    [running.core_log.clone(), running.console_log.clone(), running.emulator_log.clone()]
}

fn tails(logs: &[PathBuf], lines: usize) -> String {
    let shown = logs.iter().filter(|log| size(log) > 0);
    let of = |log: &PathBuf| {
        // QEMU names every feature that its emulation of a CPU leaves out.
        let text: String = tail(log, lines)
            .split_inclusive('\n')
            .filter(|l| !l.contains("TCG doesn't support requested feature"))
            .collect();
        if text.is_empty() { text } else { format!("  {}:\n{text}", log.display()) }
    };
    shown.map(of).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}
