// SPDX-License-Identifier: MIT OR Apache-2.0
//! System tests: whole boots with a command line in the control domain, or
//! with something wrong that the core must refuse in clear words.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use regex_lite::Regex;

use super::spec::{self, ALWAYS_BAD, Module, Spec, Variant, Via};
use super::{Tally, Verdict};
use crate::bed::{Bed, Boot, Machine, TFTP};
use crate::deps::Installer;
use crate::key::sha256;
use crate::place;
use crate::prepare::{RunDir, System};
use crate::run::default_memory;
use crate::session::{self, Outcome, Report};

/// Log lines shown of a failing test.
const TAIL: usize = 25;

/// Runs the system tests.
pub fn run(installer: &Installer, bed: Bed, tally: &mut Tally) -> Result<()> {
    let specs = spec::read_all(&place::root().join("tests/system"))?;
    let mut system = None;
    for spec in &specs {
        for variant in spec.variants(bed) {
            let name = format!("system {}{}", spec.name, variant.label);
            if !tally.wants(&name) {
                continue;
            }
            if spec.long && !tally.long() {
                tally.run(&name, || Ok(Verdict::Skip("needs --long".to_owned())));
                continue;
            }
            if tally.list {
                tally.run(&name, || Ok(Verdict::Pass));
                continue;
            }
            // Built once, and only if a test wants it.
            if system.is_none() {
                system = Some(System::make(installer, Some(bed)));
            }
            let core_args = tally.core_args.clone();
            tally.run(&name, || match &system {
                Some(Ok(system)) => one(system, spec, bed, &variant, &core_args),
                Some(Err(error)) => {
                    Ok(Verdict::Fail(format!("the system did not build: {error:#}")))
                }
                None => Ok(Verdict::Skip("no system".to_owned())),
            });
        }
    }
    Ok(())
}

fn one(
    system: &System,
    spec: &Spec,
    bed: Bed,
    variant: &Variant,
    core_args: &str,
) -> Result<Verdict> {
    let dir = RunDir::new(&format!("test-{}-{}", spec.name, variant.smp))?;
    let mut boot = system.boot(&dir.path, spec.exec.as_deref())?;
    boot.core_args = format!("{} {}", spec.core_args, core_args).trim().to_owned();
    boot.kernel_args = format!("{} {}", boot.kernel_args, spec.kernel_args).trim().to_owned();
    (boot.iso, boot.uefi) = (spec.via == Via::Iso, spec.via == Via::Uefi);
    spoil(&mut boot, spec, &dir)?;
    let payload = payload(&dir)?;
    let machine = Machine {
        bed,
        boot,
        smp: variant.smp,
        memory: spec.memory()?.unwrap_or(default_memory(bed)),
        disk: 256,
        interactive: false,
        overlap: false,
        gdb: false,
        cpu_without: spec.cpu_without.clone(),
        cpu: variant.cpu.clone(),
        dir: dir.path.clone(),
    };
    let limit = Duration::from_secs(spec.timeout * if bed == Bed::Bochs { 4 } else { 1 });
    let until = match spec.exec {
        Some(_) => Vec::new(),
        None => regexes(&spec.core_log)?,
    };
    let report = session::exec(&machine, limit, &until, &mut |_| {})?;
    let core_log =
        String::from_utf8_lossy(&fs::read(report.core_log()).unwrap_or_default()).into_owned();
    let mut faults = judge(spec, &report, &core_log, &payload)?;
    if faults.is_empty() {
        return Ok(Verdict::Pass);
    }
    faults.push(format!("logs in {}", dir.path.display()));
    let mut text: String = faults.iter().map(|f| format!("  {f}\n")).collect();
    if spec.exec.is_some() {
        text.push_str("  output:\n");
        for line in String::from_utf8_lossy(&report.output)
            .lines()
            .rev()
            .take(TAIL)
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text.push_str(&report.tails(TAIL));
    Ok(Verdict::Fail(text))
}

/// What is not as the test wants it.
fn judge(spec: &Spec, report: &Report, core_log: &str, payload: &str) -> Result<Vec<String>> {
    let output = String::from_utf8_lossy(&report.output);
    let mut faults = Vec::new();
    let expected = match spec.exec {
        Some(_) if spec.off => Outcome::Off { begun: true },
        Some(_) => Outcome::Exit(spec.exit),
        None => Outcome::Logged,
    };
    if report.outcome != expected {
        faults.push(format!("{} (expected: {})", report.outcome.describe(), expected.describe()));
    } else if !report.powered_off && report.outcome != Outcome::Logged {
        faults.push("the control domain did not power off".to_owned());
    }
    let mut look = |text: &str, what: &str, patterns: &[String], wanted: bool| -> Result<()> {
        for pattern in patterns {
            let pattern = pattern.replace("@PAYLOAD@", payload);
            if Regex::new(&pattern)?.is_match(text) != wanted {
                faults.push(format!("{what} {} /{pattern}/", if wanted { "lacks" } else { "has" }));
            }
        }
        Ok(())
    };
    look(&output, "output", &spec.output, true)?;
    look(&output, "output", &spec.output_not, false)?;
    look(core_log, "core log", &spec.core_log, true)?;
    look(core_log, "core log", &spec.core_log_not, false)?;
    // A test that looks for a panic may find one.
    if !spec.core_log.iter().any(|p| p.contains("PANIC")) {
        let bad: Vec<String> = ALWAYS_BAD.iter().map(|p| (*p).to_owned()).collect();
        look(core_log, "core log", &bad, false)?;
    }
    Ok(faults)
}

/// A file for the control domain to fetch, and its SHA-256.
fn payload(dir: &RunDir) -> Result<String> {
    let room = dir.path.join(TFTP);
    fs::create_dir_all(&room)?;
    // Not compressible by accident, the same on every run.
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let bytes: Vec<u8> = (0..2 << 20).map(|_| next()).collect();
    fs::write(room.join("payload"), &bytes)?;
    Ok(sha256(&bytes))
}

/// Puts something wrong in place of the kernel or the initrd.
fn spoil(boot: &mut Boot, spec: &Spec, dir: &RunDir) -> Result<()> {
    let stand_in = |real: &PathBuf, module: Module, name: &str| -> Result<PathBuf> {
        let bytes = match module {
            Module::Good | Module::Missing => return Ok(real.clone()),
            Module::Garbage => b"This is no kernel and no archive. ".repeat(1000),
            Module::Short => fs::read(real)?.into_iter().take(8192).collect(),
        };
        let path = dir.path.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    };
    boot.kernel = match (&boot.kernel, spec.kernel) {
        (_, Module::Missing) => None,
        (Some(kernel), module) => Some(stand_in(kernel, module, "kernel")?),
        (None, _) => None,
    };
    boot.initrd = match (&boot.initrd, spec.initrd) {
        (_, Module::Missing) | (None, _) => None,
        (Some(initrd), module) => Some(stand_in(initrd, module, "initrd")?),
    };
    Ok(())
}

fn regexes(patterns: &[String]) -> Result<Vec<Regex>> {
    Ok(patterns.iter().map(|p| Regex::new(p)).collect::<Result<_, _>>()?)
}
