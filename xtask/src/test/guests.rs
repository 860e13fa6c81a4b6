// SPDX-License-Identifier: MIT OR Apache-2.0
//! Micro-guests: the image of `tests/guests` boots as the control domain (the
//! runner), makes guests of copies of itself, and reports on the core's log,
//! which `hv_harness` reads.
//!
//! *error* means that the test is broken, *failure* that the core is; both
//! count as failed here, in different words.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hv_harness::Line;
use regex_lite::Regex;

use super::{Tally, Verdict};
use crate::bed::{Bed, Boot, Machine, bochs};
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

/// Runs all micro-guests, in one boot per CPU count and, on Bochs, CPU model.
pub fn run(installer: &Installer, bed: Bed, tally: &mut Tally) -> Result<()> {
    if !tally.filter.is_empty() && !tally.filter.iter().any(|f| f.starts_with(GROUP)) {
        return Ok(());
    }
    if tally.list {
        println!("{GROUP} (the runner names its tests when it runs)");
        return Ok(());
    }
    let made = make(installer);
    // The run itself is wanted whichever of its tests are.
    let asked = tally.filter.iter().find(|f| f.starts_with(GROUP)).cloned();
    let asked = asked.unwrap_or_else(|| GROUP.to_owned());
    let runner = |label: &str| format!("{} (the run) {label}", asked.trim());
    let counts: &[u32] = if tally.long() { &[1, 2, 4] } else { &[1, 2] };
    let machines: Vec<(u32, Option<&str>)> = match bed {
        Bed::Bochs if tally.long => {
            let of = |&smp: &u32| bochs::MODELS.map(|model| (smp, Some(model)));
            counts.iter().flat_map(of).collect()
        }
        Bed::Bochs => bochs::MACHINES.map(|(smp, model)| (smp, Some(model))).to_vec(),
        _ => counts.iter().map(|&smp| (smp, None)).collect(),
    };
    for (smp, model) in machines {
        let label = match model {
            Some(model) => format!("smp={smp} cpu={model}"),
            None => format!("smp={smp}"),
        };
        let start = Instant::now();
        let lines = made.as_ref().map_err(|e| format!("{e:#}")).and_then(|(core, runner)| {
            let args = args(bed, smp, tally);
            let core_args = format!("loglevel=debug{} {}", memory(bed).1, tally.core_args);
            boot(core, runner, bed, smp, model, [&core_args, &args]).map_err(|e| format!("{e:#}"))
        });
        match lines {
            Ok((lines, complaint)) => {
                for (name, verdict) in lines {
                    let name = format!("{GROUP} {name} {label}");
                    tally.record(&name, verdict, Duration::ZERO);
                }
                let verdict = complaint.map_or(Verdict::Pass, Verdict::Fail);
                tally.record(&runner(&label), verdict, start.elapsed());
            }
            Err(why) => {
                tally.record(&runner(&label), Verdict::Fail(why), start.elapsed());
            }
        }
    }
    Ok(())
}

/// The runner's command line: how much the random guest does, and the names
/// of the tests, if `cargo xtask test \"guest NAME\"` asks for some.
fn args(bed: Bed, smp: u32, tally: &Tally) -> String {
    // The larger part with two CPUs, where vCPUs race.
    let operations = match (bed, smp, tally.long) {
        // A few hundred for a second of that emulator.
        (Bed::Bochs, 2, false) => 10_000,
        (Bed::Bochs, _, false) => 1_000,
        (Bed::Bochs, _, true) => 100_000,
        (_, 2, false) => 200_000,
        (_, _, false) => 50_000,
        (_, _, true) => 4_000_000,
    };
    let named: Vec<&str> = tally
        .filter
        .iter()
        .filter_map(|f| f.strip_prefix(GROUP)?.split_whitespace().next())
        .collect();
    let all = tally.filter.iter().any(|f| f.trim() == GROUP);
    let names = if all { String::new() } else { named.join(" ") };
    // A short run judges a change, not luck: its programs are always the same.
    let seed = if tally.long { "" } else { "fuzz_seed=0x5eed" };
    // The first of two wins.
    format!("{} fuzz={operations} {seed} {names}", tally.guest_args).trim().to_owned()
}

/// The machine's MiB, and how the core divides them. After each test all of it
/// is audited and much of it scanned, so it is less where that is slow.
fn memory(bed: Bed) -> (u64, &'static str) {
    if bed == Bed::Bochs { (256, " dom0_mem=128M") } else { (512, "") }
}

/// Builds core and runner; returns the core's image and the runner's bzImage.
fn make(installer: &Installer) -> Result<(PathBuf, Vec<u8>)> {
    let core = build::build(installer, &BuildArgs::default())?.flat;
    Ok((core, image(installer)?))
}

/// Builds the runner and returns its bzImage.
pub fn image(installer: &Installer) -> Result<Vec<u8>> {
    step("micro-guests", || {
        let mut command = BareMetal::find(installer)?.cargo("build");
        shown(command.args(["--quiet", "--release", "--package", PACKAGE]))
    })?;
    let path = place::target().join(TARGET).join("release").join(RUNNER);
    let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let wrapped = flat::flatten(&data).and_then(|flat| bzimage::wrap(&flat));
    wrapped.with_context(|| format!("in {}", path.display()))
}

type Lines = Vec<(String, Verdict)>;

/// Boots the runner; returns verdicts and what was wrong with the run itself.
fn boot(
    core: &Path,
    runner: &[u8],
    bed: Bed,
    smp: u32,
    model: Option<&str>,
    [core_args, args]: [&str; 2],
) -> Result<(Lines, Option<String>)> {
    let dir = RunDir::new(&format!("guests-{smp}"))?;
    let kernel = dir.path.join("runner.bzImage");
    fs::write(&kernel, runner)?;
    let machine = Machine {
        bed,
        boot: Boot {
            core: core.to_owned(),
            core_args: core_args.trim().to_owned(),
            kernel: Some(kernel),
            kernel_args: args.to_owned(),
            initrd: None,
            iso: false,
            uefi: false,
        },
        smp,
        memory: memory(bed).0,
        disk: 0,
        interactive: false,
        overlap: true,
        gdb: false,
        cpu_without: Vec::new(),
        cpu: model.map(str::to_owned),
        dir: dir.path.clone(),
    };
    let until = [Regex::new(r" dom0: HVTEST done \d+")?];
    // The random guest takes a second for a few thousand operations.
    let random = args.split_whitespace().find_map(|w| w.strip_prefix("fuzz=")?.parse::<u64>().ok());
    let base = if bed == Bed::Bochs { 1800 } else { 300 };
    let limit = Duration::from_secs(base + random.unwrap_or(0) / 1000);
    let run = session::exec(&machine, limit, &until, &mut |_| {})?;
    let log = String::from_utf8_lossy(&fs::read(run.core_log())?).into_owned();
    let said = hv_harness::read(&log);
    let logs = format!("  logs in {}\n", dir.path.display());
    let lines = said.lines.iter().map(|l| (l.name.clone(), verdict(l, &logs))).collect();
    let mut faults: String = said.problems.iter().map(|p| format!("  {p}\n")).collect();
    if run.outcome != Outcome::Logged {
        faults.push_str(&format!("  {}\n{}", run.outcome.describe(), run.tails(40)));
    }
    Ok((lines, Some(faults).filter(|f| !f.is_empty())))
}

fn verdict(line: &Line, logs: &str) -> Verdict {
    match line.verdict {
        hv_harness::Verdict::Success => Verdict::Pass,
        hv_harness::Verdict::Skip => Verdict::Skip(line.text.clone()),
        hv_harness::Verdict::Failure => {
            Verdict::Fail(format!("  the core failed: {}\n{logs}", line.text))
        }
        hv_harness::Verdict::Error => {
            Verdict::Fail(format!("  the test is broken: {}\n{logs}", line.text))
        }
    }
}
