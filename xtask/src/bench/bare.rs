// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots the micro-guests' image to measure, and joins what it says with what
//! the plugin counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex_lite::Regex;

use super::counter::{self, Window};
use super::report::{Report, Row};
use super::{BenchArgs, CTL, Tier, profile};
use crate::bed::{Bed, Boot, Machine};
use crate::build::Core;
use crate::deps::{Installer, QEMU};
use crate::prepare::RunDir;
use crate::session::{self, Outcome};
use crate::step::{step, tail};
use crate::test::micro_guests;

/// MiB of the machine: 500 domains and what they need have room.
const MEMORY: u64 = 2048;
const LIMIT: Duration = Duration::from_secs(1200);
/// Last line of the runner.
const DONE: &str = r" dom0: HVBENCH done \d+";

/// In QEMU, with the plugin.
pub fn counted(installer: &Installer, core: &Core, args: &BenchArgs) -> Result<Report> {
    installer.need(&QEMU)?;
    let plugin = counter::build(installer)?;
    let runner = micro_guests(installer)?;
    let dir = RunDir::new("bench")?;
    let (kernel, counts) = (dir.path.join("runner.bzImage"), dir.path.join("counts"));
    fs::write(&kernel, runner)?;
    let mut options = format!("{},out={}", plugin.display(), counts.display());
    if args.profile {
        // The core's text; the rest of the window holds no code.
        options.push_str(",profile=ffffffff80000000-ffffffffa0000000");
    }
    let log = dir.path.join("core.log");
    let mut qemu = Command::new("qemu-system-x86_64");
    // One CPU and -icount: every run is the same. RTC by the virtual clock.
    qemu.args(["-machine", "q35", "-nodefaults", "-no-reboot", "-display", "none"])
        .args(["-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"])
        .args(["-cpu", "EPYC,+svm,+npt,-monitor,+nrip-save", "-smp", "1"])
        .args(["-m", &MEMORY.to_string(), "-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .arg("-kernel")
        .arg(&core.flat)
        .args(["-append", "loglevel=info"])
        .arg("-initrd")
        .arg(format!("{} bench={}", kernel.display(), chosen(args).replace(',', ",,")))
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .arg("-plugin")
        .arg(options);
    step("counting", || follow(&mut qemu, &log, &dir.path))?;
    let said = fs::read_to_string(&log)?;
    let windows = counter::read(&counts)?;
    if args.profile {
        profile::show(&windows, &names(&said)?, &core.elf)?;
    }
    join(&said, &windows, Bed::Tcg)
}

/// In Bochs, by the TSC.
pub fn by_tsc(installer: &Installer, core: &Core, args: &BenchArgs) -> Result<Report> {
    Machine::prepare(installer, Bed::Bochs, true, false)?;
    let runner = micro_guests(installer)?;
    let dir = RunDir::new("bench-bochs")?;
    let kernel = dir.path.join("runner.bzImage");
    fs::write(&kernel, runner)?;
    let machine = Machine {
        bed: Bed::Bochs,
        boot: Boot {
            core: core.flat.clone(),
            core_args: "loglevel=info".to_owned(),
            kernel: Some(kernel),
            kernel_args: format!("bench={}", chosen(args)),
            initrd: None,
            iso: false,
            uefi: false,
        },
        smp: 1,
        memory: MEMORY / 2,
        disk: 0,
        interactive: false,
        overlap: false,
        gdb: false,
        cpu_without: Vec::new(),
        cpu: None,
        dir: dir.path.clone(),
    };
    let until = [Regex::new(DONE)?];
    let run = step("counting by the TSC", || session::exec(&machine, LIMIT, &until, &mut |_| {}))?;
    if run.outcome != Outcome::Logged {
        bail!("{}\n{}", run.outcome.describe(), run.tails(30));
    }
    join(&fs::read_to_string(run.core_log())?, &[], Bed::Bochs)
}

fn chosen(args: &BenchArgs) -> String {
    match args.tier {
        _ if !args.rows.is_empty() => args.rows.join(","),
        Tier::Ctl => CTL.join(","),
        Tier::Bare => "bare".to_owned(),
        Tier::All => "all".to_owned(),
    }
}

/// Waits for the machine's end.
fn follow(qemu: &mut Command, log: &Path, dir: &Path) -> Result<()> {
    let done = Regex::new(DONE)?;
    let emulator = dir.join("emulator.log");
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&emulator)?)
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > LIMIT {
            child.kill().ok();
            child.wait().ok();
            bail!("time was up\n{}{}", tail(log, 30), tail(&emulator, 10));
        }
        sleep(Duration::from_millis(50));
    }
    if !done.is_match(&fs::read_to_string(log).unwrap_or_default()) {
        bail!("the runner did not come to its end\n{}{}", tail(log, 30), tail(&emulator, 10));
    }
    Ok(())
}

/// Lines of the runner, behind its mark.
fn lines(log: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = log.lines().filter_map(|l| l.split_once(" dom0: HVBENCH "));
    lines.map(|(_, said)| said.split_whitespace().collect())
}

/// Names of rows by number.
fn names(log: &str) -> Result<BTreeMap<u64, String>> {
    let mut names = BTreeMap::new();
    for words in lines(log) {
        if let [number, name, _, _, _, _] = words.as_slice() {
            names.insert(number.parse()?, (*name).to_owned());
        }
    }
    Ok(names)
}

fn join(log: &str, windows: &[Window], bed: Bed) -> Result<Report> {
    let mut report = Report::new(bed.name());
    for words in lines(log) {
        match words.as_slice() {
            ["figure", name, value] => {
                report.figures.insert((*name).to_owned(), value.parse()?);
            }
            ["error", name, why @ ..] => {
                report.broken.push(format!("{name}: {}", why.join(" ")));
            }
            [number, name, operations, ticks @ ..] if ticks.len() == 3 => {
                let number: u64 = number.parse()?;
                let ticks = ticks.iter().map(|t| t.parse()).collect::<Result<Vec<u64>, _>>()?;
                let own = windows.iter().filter(|w| w.row == number);
                report.rows.push(Row {
                    name: (*name).to_owned(),
                    operations: operations.parse()?,
                    ticks,
                    windows: own.map(|w| w.counts).collect(),
                });
            }
            _ => {}
        }
    }
    Ok(report)
}
