// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: every test of the project behind one command.
//!
//! Kinds, in the order they run: `host` (cargo test per crate), `generated
//! files`, `guest` (micro-guests, `guests.rs`), `system` (whole boots,
//! `system.rs`). Each
//! test is one line; a failing one is followed by the ends of its logs. The
//! last line is `N passed, N failed, N skipped`, alone.

mod guests;
mod host;
mod spec;
mod system;

pub use guests::image as micro_guests;

use std::fs;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::bed::{Bed, Machine};
use crate::deps::Installer;
use crate::generate;
use crate::place;
use crate::step::note;

/// Options of `cargo xtask test`.
#[derive(Args, Debug, Clone)]
pub struct TestArgs {
    /// Run only tests whose name contains one of these
    pub filter: Vec<String>,
    /// Run only what boots a machine, on this emulator [default: everything,
    /// on tcg]
    #[arg(long)]
    pub bed: Option<Bed>,
    /// Run the long tests as well
    #[arg(long)]
    pub long: bool,
    /// Only list the tests
    #[arg(long)]
    pub list: bool,
    /// More options of the core, in every boot (apic=none, loglevel=trace …)
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    pub core_args: String,
    /// More arguments for the micro-guests (fuzz_seed=0x… …)
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub guest_args: String,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Pass,
    /// Not as expected: why, and what the logs say.
    Fail(String),
    /// Not run: why.
    Skip(String),
}

impl Verdict {
    /// A failing verdict for an error of the test's own machinery.
    pub fn from_error(error: &anyhow::Error) -> Verdict {
        Verdict::Fail(format!("{error:#}"))
    }
}

/// Counts verdicts and prints a line for each.
pub struct Tally {
    filter: Vec<String>,
    list: bool,
    long: bool,
    core_args: String,
    guest_args: String,
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
}

impl Tally {
    /// Whether the user asked for a test of this name.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
    }

    /// Whether all long tests were asked for.
    pub fn long_asked(&self) -> bool {
        self.long
    }

    /// Whether long tests run. Naming one is asking for it.
    pub fn long(&self) -> bool {
        self.long || !self.filter.is_empty()
    }

    /// Runs a test, unless the user asked for others.
    pub fn run(&mut self, name: &str, test: impl FnOnce() -> Result<Verdict>) {
        if !self.wants(name) {
            return;
        }
        if self.list {
            println!("{name}");
            return;
        }
        print!("test {name} ... ");
        stdout().flush().ok();
        let start = Instant::now();
        let verdict = test().unwrap_or_else(|error| Verdict::from_error(&error));
        self.end(verdict, start.elapsed(), name);
    }

    /// Records a verdict that came with others from one boot.
    pub fn record(&mut self, name: &str, verdict: Verdict, took: Duration) {
        if self.wants(name) && !self.list {
            print!("test {name} ... ");
            self.end(verdict, took, name);
        }
    }

    fn end(&mut self, verdict: Verdict, took: Duration, name: &str) {
        let took = took.as_secs_f32();
        match verdict {
            Verdict::Pass => {
                println!("ok ({took:.1} s)");
                self.passed += 1;
            }
            Verdict::Skip(why) => {
                println!("skipped: {why}");
                self.skipped += 1;
            }
            Verdict::Fail(why) => {
                println!("FAILED ({took:.1} s)\n{}", why.trim_end());
                self.failed.push(name.to_owned());
            }
        }
    }
}

/// Runs the tests; true if none failed.
pub fn run(installer: &Installer, args: &TestArgs) -> Result<bool> {
    let bed = args.bed.unwrap_or(Bed::Tcg);
    let mut tally = Tally {
        filter: args.filter.clone(),
        list: args.list,
        long: args.long,
        core_args: args.core_args.clone(),
        guest_args: args.guest_args.clone(),
        passed: 0,
        failed: Vec::new(),
        skipped: 0,
    };
    if args.bed.is_none() {
        host::run(installer, &mut tally)?;
        tally.run("generated files", || {
            generate::check()?;
            Ok(Verdict::Pass)
        });
    }
    if !args.list {
        Machine::prepare(installer, bed, true, bed != Bed::Bochs)?;
    }
    guests::run(installer, bed, &mut tally)?;
    system::run(installer, bed, &mut tally)?;
    if args.list {
        return Ok(true);
    }
    if !tally.failed.is_empty() {
        note(&format!("failed: {}", tally.failed.join(" ")));
    }
    let line = format!(
        "{} passed, {} failed, {} skipped",
        tally.passed,
        tally.failed.len(),
        tally.skipped
    );
    fs::write(place::scratch("logs")?.join("test-summary"), &line)?;
    println!("{line}");
    Ok(tally.failed.is_empty())
}
