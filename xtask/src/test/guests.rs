// SPDX-License-Identifier: MIT OR Apache-2.0
//! Micro-guests: the image of `tests/guests` boots as the control domain (the
//! runner), makes guests of copies of itself, and reports on the core's log:
//! `HVTEST <name> success|skip|error|failure [text]` … `HVTEST done N`.
//!
//! *error* means that the test is broken, *failure* that the core is; both
//! count as failed here, in different words.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use regex_lite::Regex;

use super::{Tally, Verdict};
use crate::bed::{Bed, Boot, Machine};
use crate::build::{self, BuildArgs};
use crate::bzimage;
use crate::deps::Installer;
use crate::flat;
use crate::place;
use crate::prepare::RunDir;
use crate::session::{self, Outcome};
use crate::step::{shown, step};
use crate::toolchain::{BareMetal, TARGET};

const PACKAGE: &str = "hv-guests";
const RUNNER: &str = "hv-guests";
/// One group of names, for the filter: their names are known only afterwards.
const GROUP: &str = "guest";

/// Runs all micro-guests, in one boot per CPU count.
pub fn run(installer: &Installer, bed: Bed, tally: &mut Tally) -> Result<()> {
    if !tally.filter.is_empty() && !tally.filter.iter().any(|f| f.starts_with(GROUP)) {
        return Ok(());
    }
    if tally.list {
        println!("{GROUP} (the runner names its tests when it runs)");
        return Ok(());
    }
    let made = make(installer);
    for smp in [1, 2] {
        let start = Instant::now();
        let lines = made
            .as_ref()
            .map_err(|e| format!("{e:#}"))
            .and_then(|(core, runner)| boot(core, runner, bed, smp).map_err(|e| format!("{e:#}")));
        match lines {
            Ok((lines, complaint)) => {
                for (name, verdict) in lines {
                    let name = format!("{GROUP} {name} smp={smp}");
                    tally.record(&name, verdict, Duration::ZERO);
                }
                let verdict = complaint.map_or(Verdict::Pass, Verdict::Fail);
                let name = format!("{GROUP} runner smp={smp}");
                tally.record(&name, verdict, start.elapsed());
            }
            Err(why) => {
                let name = format!("{GROUP} runner smp={smp}");
                tally.record(&name, Verdict::Fail(why), start.elapsed());
            }
        }
    }
    Ok(())
}

/// Builds core and runner; returns the core's image and the runner's bzImage.
fn make(installer: &Installer) -> Result<(PathBuf, Vec<u8>)> {
    let core = build::build(installer, &BuildArgs::default())?.flat;
    step("micro-guests", || {
        let mut command = BareMetal::find(installer)?.cargo("build");
        shown(command.args(["--quiet", "--release", "--package", PACKAGE]))
    })?;
    let path = place::target().join(TARGET).join("release").join(RUNNER);
    let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let wrapped = flat::flatten(&data).and_then(|flat| bzimage::wrap(&flat));
    Ok((core, wrapped.with_context(|| format!("in {}", path.display()))?))
}

type Lines = Vec<(String, Verdict)>;

/// Boots the runner; returns verdicts and what was wrong with the run itself.
fn boot(core: &Path, runner: &[u8], bed: Bed, smp: u32) -> Result<(Lines, Option<String>)> {
    let dir = RunDir::new(&format!("guests-{smp}"))?;
    let kernel = dir.path.join("runner.bzImage");
    fs::write(&kernel, runner)?;
    let machine = Machine {
        bed,
        boot: Boot {
            core: core.to_owned(),
            core_args: "loglevel=debug".to_owned(),
            kernel: Some(kernel),
            kernel_args: String::new(),
            initrd: None,
            iso: false,
            uefi: false,
        },
        smp,
        memory: 512,
        disk: 0,
        interactive: false,
        gdb: false,
        cpu_without: Vec::new(),
        dir: dir.path.clone(),
    };
    let until = [Regex::new(r"HVTEST done \d+")?];
    let limit = Duration::from_secs(if bed == Bed::Bochs { 600 } else { 180 });
    let report = session::exec(&machine, limit, &until, &mut |_| {})?;
    let log = String::from_utf8_lossy(&fs::read(report.core_log())?).into_owned();
    let (lines, done) = parse(&log);
    let complaint = match (report.outcome, done) {
        (Outcome::Logged, Some(n)) if n == lines.len() => None,
        (Outcome::Logged, n) => {
            Some(format!("  {} verdicts, but the runner counted {n:?}\n", lines.len()))
        }
        (outcome, _) => Some(format!("  {}\n{}", outcome.describe(), report.tails(40))),
    };
    Ok((lines, complaint))
}

/// Reads verdict lines and the closing count.
fn parse(log: &str) -> (Lines, Option<usize>) {
    let mut lines = Vec::new();
    let mut done = None;
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("HVTEST ") else { continue };
        let (name, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
        if name == "done" {
            done = word.parse().ok();
            continue;
        }
        let verdict = match word {
            "success" => Verdict::Pass,
            "skip" => Verdict::Skip(text.to_owned()),
            "failure" => Verdict::Fail(format!("  the core failed: {text}")),
            "error" => Verdict::Fail(format!("  the test is broken: {text}")),
            other => Verdict::Fail(format!("  no verdict is called `{other}`")),
        };
        lines.push((name.to_owned(), verdict));
    }
    (lines, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_lines_are_read() {
        let log = "[ 0.1] INFO x: hi\r\n[ 0.2] INFO dom0: HVTEST a success\nHVTEST b skip no svm\n\
                   HVTEST c failure lost 3\nHVTEST d error oops\nHVTEST done 4\n";
        let (lines, done) = parse(log);
        assert_eq!(done, Some(4));
        assert_eq!(lines[0], ("a".to_owned(), Verdict::Pass));
        assert_eq!(lines[1].1, Verdict::Skip("no svm".to_owned()));
        assert!(matches!(&lines[2].1, Verdict::Fail(t) if t.contains("lost 3")));
        assert!(matches!(&lines[3].1, Verdict::Fail(t) if t.contains("broken")));
    }
}
