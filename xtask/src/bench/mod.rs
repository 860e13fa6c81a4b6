// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what operations cost, counted, not timed.
//!
//! `bare.rs` boots the micro-guests' image with `bench=` and the counting
//! plugin (`counter.rs`) in QEMU with `-icount`, or in Bochs; `report.rs` makes
//! a table, JSON and plots (`plot.rs`) of it and compares with the accepted
//! figures of `tests/bench/budgets.toml` (`budget.rs`). `profile.rs` shows
//! which functions of the core a row's instructions are in.

mod bare;
mod budget;
mod counter;
mod plot;
mod profile;
mod report;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::bed::Bed;
use crate::build::{self, BuildArgs, Core};
use crate::deps::Installer;
use crate::place;
use crate::step::note;

/// Options of `cargo xtask bench`.
#[derive(Args, Debug, Clone)]
pub struct BenchArgs {
    /// Only rows whose name begins with one of these
    pub rows: Vec<String>,
    /// What to measure
    #[arg(long, value_enum, default_value = "bare")]
    pub tier: Tier,
    /// The emulator: tcg counts exactly, bochs has only its TSC
    #[arg(long)]
    pub bed: Option<Bed>,
    /// Fail when a row exceeds its budget by more than 1 %
    #[arg(long, conflicts_with = "accept")]
    pub check: bool,
    /// Make these figures the accepted ones
    #[arg(long)]
    pub accept: bool,
    /// Show which functions of the core the instructions are in
    #[arg(long)]
    pub profile: bool,
    /// Where the results go [default: target/hv/bench/]
    #[arg(long, value_name = "DIRECTORY")]
    pub output: Option<PathBuf>,
}

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// Micro-guests: one operation a row
    Bare,
    /// The same, with up to 500 domains there: creation, listing, memory
    Ctl,
    /// Both
    All,
}

/// Rows of the tier `ctl`, by their beginnings; the others are `bare`.
const CTL: [&str; 5] = ["create@", "destroy@", "list@", "pause@", "memory"];

impl Tier {
    fn has(self, row: &str) -> bool {
        let ctl = CTL.iter().any(|prefix| row.starts_with(prefix));
        match self {
            Tier::Bare => !ctl,
            Tier::Ctl => ctl,
            Tier::All => true,
        }
    }
}

/// Runs the task; false when a budget is exceeded or a row is not steady.
pub fn run(installer: &Installer, args: &BenchArgs) -> Result<bool> {
    let bed = args.bed.unwrap_or(Bed::Tcg);
    let core = build::build(installer, &BuildArgs::default())?;
    let mut report = match bed {
        Bed::Tcg => bare::counted(installer, &core, args)?,
        Bed::Bochs if !args.profile && !args.check && !args.accept => {
            bare::by_tsc(installer, &core, args)?
        }
        Bed::Bochs => bail!("Bochs counts no more than its TSC: no profile, no budgets"),
        Bed::Kvm | Bed::Bare => bail!("nothing can be counted on the bed `{}`", bed.name()),
    };
    add_image(&mut report, &core)?;
    let directory = match &args.output {
        Some(directory) => directory.clone(),
        None => place::scratch("bench")?,
    };
    fs::create_dir_all(&directory)?;
    let budgets = budget::Budgets::read()?;
    print!("{}", report.table(&budgets));
    fs::write(directory.join("results.json"), report.json()?)?;
    plot::all(&report, &budgets, &directory)?;
    note(&format!("results are in {}", directory.display()));
    let mut good = true;
    for complaint in report.complaints() {
        println!("{complaint}");
        good = false;
    }
    if args.accept && good {
        budgets.accept(&report)?;
        note("these are the accepted figures now");
    }
    if args.check {
        for line in budgets.exceeded(&report, args.rows.is_empty().then_some(args.tier)) {
            println!("{line}");
            good = false;
        }
    }
    Ok(good)
}

fn add_image(report: &mut report::Report, core: &Core) -> Result<()> {
    let bytes = fs::metadata(&core.flat)?.len();
    report.figures.insert("image_bytes".to_owned(), bytes);
    Ok(())
}
