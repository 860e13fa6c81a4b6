// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run of the micro-guests says: [`read`] makes a [`Report`] of the
//! core's log. Four verdicts, as in the Xen Test Framework: *success*, *skip*
//! (the machine can't show the behaviour), *error* (the test is broken) and
//! *failure* (the core is).
//!
//! The runner writes `HVTEST <name> <verdict> [text]` once a test and
//! `HVTEST done <count>` last. A run is complete only with that line, the
//! right count, each name once, and no panic anywhere in the log.
#![forbid(unsafe_code)]

use std::fmt;

/// How one behaviour turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The core does what it should.
    Success,
    /// This machine can't show it.
    Skip,
    /// The test is broken.
    Error,
    /// The core does not do what it should.
    Failure,
}

/// One line of the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The test's name.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The reason, empty for a success.
    pub text: String,
}

/// What is wrong with a run as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The runner never got to its last line.
    NotDone,
    /// It counted so many tests, but there are not so many lines.
    Count(usize),
    /// More than one line has this name.
    Duplicate(String),
    /// A line of the runner that has no known form.
    Malformed(String),
    /// The core, or the runner, panicked with this line.
    Panic(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDone => write!(f, "the runner did not come to its end"),
            Self::Count(n) => write!(f, "the runner counted {n} tests, the log has others"),
            Self::Duplicate(name) => write!(f, "`{name}` has more than one verdict"),
            Self::Malformed(line) => write!(f, "`{line}` is no verdict"),
            Self::Panic(line) => write!(f, "{line}"),
        }
    }
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Verdicts, in the order they came.
    pub lines: Vec<Line>,
    /// What is wrong with the run, apart from them.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Every behaviour succeeded or was skipped, and the run is complete.
    pub fn is_good(&self) -> bool {
        let good = |line: &Line| matches!(line.verdict, Verdict::Success | Verdict::Skip);
        self.problems.is_empty() && self.lines.iter().all(good)
    }

    /// Lines with a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }
}

/// The runner's mark.
const MARK: &str = "HVTEST ";

/// Reads a core's log.
pub fn read(log: &str) -> Report {
    let mut report = Report::default();
    let mut done = None;
    for line in log.lines() {
        if line.contains("PANIC:") || line.contains("HVTEST-PANIC") {
            report.problems.push(Problem::Panic(line.trim().to_owned()));
        }
        // Only what the control domain wrote counts: a guest may write
        // anything, under its own name.
        let Some(rest) = own_text(line) else { continue };
        match parse(rest) {
            Some(Parsed::Done(count)) => done = Some(count),
            Some(Parsed::Line(line)) if report.lines.iter().any(|l| l.name == line.name) => {
                report.problems.push(Problem::Duplicate(line.name));
            }
            Some(Parsed::Line(line)) => report.lines.push(line),
            None => report.problems.push(Problem::Malformed(rest.to_owned())),
        }
    }
    match done {
        None => report.problems.push(Problem::NotDone),
        Some(n) if n != report.lines.len() => report.problems.push(Problem::Count(n)),
        Some(_) => {}
    }
    report
}

/// What follows the mark in a line of the control domain.
fn own_text(line: &str) -> Option<&str> {
    let (_, text) = line.split_once(" dom0: ")?;
    text.strip_prefix(MARK).map(str::trim)
}

enum Parsed {
    Done(usize),
    Line(Line),
}

fn parse(rest: &str) -> Option<Parsed> {
    let (name, rest) = rest.split_once(' ')?;
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    if name == "done" {
        return word.parse().ok().map(Parsed::Done);
    }
    let verdict = match word {
        "success" => Verdict::Success,
        "skip" => Verdict::Skip,
        "error" => Verdict::Error,
        "failure" => Verdict::Failure,
        _ => return None,
    };
    Some(Parsed::Line(Line { name: name.to_owned(), verdict, text: text.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[    0.1] info start: hv-core\r\n\
        [    0.2] info dom0: HVTEST a success\r\n\
        [    0.3] info dom0: HVTEST b skip no such CPU\n\
        [    0.3] warn console: d1: HVTEST a failure I am a guest\n\
        [    0.4] info dom0: HVTEST done 2\n";

    #[test]
    fn a_complete_run() {
        let report = read(GOOD);
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.count(Verdict::Success), 1);
        assert_eq!(report.lines[1].text, "no such CPU");
    }

    #[test]
    fn failures_and_errors_are_told_apart() {
        let report = read(
            "x dom0: HVTEST a failure 1 != 2\nx dom0: HVTEST b error oops\nx dom0: HVTEST done 2",
        );
        assert!(!report.is_good() && report.problems.is_empty());
        assert_eq!(report.count(Verdict::Failure), 1);
        assert_eq!(report.count(Verdict::Error), 1);
        assert_eq!(report.lines[0].text, "1 != 2");
    }

    #[test]
    fn a_run_that_ends_early() {
        let report = read("x dom0: HVTEST a success\n");
        assert_eq!(report.problems, [Problem::NotDone]);
        assert_eq!(read("").problems, [Problem::NotDone]);
        let report = read(&GOOD.replace("done 2", "done 3"));
        assert_eq!(report.problems, [Problem::Count(3)]);
    }

    #[test]
    fn names_come_once() {
        let report = read(&GOOD.replace("HVTEST b skip", "HVTEST a skip"));
        assert!(report.problems.contains(&Problem::Duplicate("a".into())));
        assert!(!report.is_good());
    }

    #[test]
    fn panics_are_problems_wherever_they_are() {
        for line in ["PANIC: at x.rs:1", "[ 1.0] info dom0: HVTEST-PANIC oops"] {
            let report = read(&format!("{GOOD}{line}\n"));
            assert_eq!(report.problems, [Problem::Panic(line.into())]);
        }
    }

    #[test]
    fn lines_cut_by_others_are_not_overlooked() {
        let report = read("x dom0: HVTEST a succ\nx dom0: HVTEST done 1\n");
        assert!(matches!(&report.problems[0], Problem::Malformed(line) if line == "a succ"));
        let report = read("x dom0: HVTEST done many\n");
        assert!(matches!(&report.problems[0], Problem::Malformed(_)));
    }
}
