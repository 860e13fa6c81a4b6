// SPDX-License-Identifier: MIT OR Apache-2.0
//! Host tests: `cargo test` for each default member of the workspace, one
//! line per crate. Building comes first and by itself, so that a crate's time
//! is its tests' time. `host storm` is the core's logic under random exits,
//! for a while (`hv_kernel::storm`).

use std::fs;

use anyhow::{Context, Result};

use super::{Tally, Verdict};
use crate::deps::{HOST, Installer};
use crate::place;
use crate::step::{log_file, logged, shown, step};
use crate::toolchain::host_cargo;

/// Runs the host tests.
pub fn run(installer: &Installer, tally: &mut Tally) -> Result<()> {
    let crates = default_members()?;
    let wanted: Vec<&String> =
        crates.iter().filter(|c| tally.wants(&format!("host {c}"))).collect();
    if wanted.is_empty() {
        return storm(installer, tally);
    }
    if !tally.list {
        installer.need(&HOST)?;
        let built = step("host tests: build", || {
            let mut command = host_cargo("test");
            command.args(["--quiet", "--no-run"]);
            for name in &wanted {
                command.args(["--package", name]);
            }
            shown(&mut command)
        });
        if let Err(error) = built {
            tally.record("host build", Verdict::from_error(&error), std::time::Duration::ZERO);
            return Ok(());
        }
    }
    // Asked for by its switch only: a million sequences take minutes.
    let tally_long = tally.long_asked();
    for name in wanted {
        tally.run(&format!("host {name}"), || {
            let log = log_file(&format!("test-{name}"))?;
            let mut command = host_cargo("test");
            command.args(["--quiet", "--package", name]);
            if tally_long {
                command.env("HV_RANDOM_GRANTS", "1000000");
                command.env("HV_HOSTILE_REQUESTS", "1000000");
            }
            Ok(match logged(&mut command, &log) {
                Ok(()) => Verdict::Pass,
                Err(error) => Verdict::from_error(&error),
            })
        });
    }
    storm(installer, tally)
}

/// The storm of random exits: seconds from a fixed seed, so that a change is
/// judged by what it does and not by luck; and with `--long`, from a new seed,
/// this many hypercalls.
const STORM: [&str; 4] = ["--seconds", "30", "--seed", "0x18eb5366fcc09f78"];
const STORM_LONG: [&str; 2] = ["--calls", "100000000"];

/// Random exits over the scripted machine.
fn storm(installer: &Installer, tally: &mut Tally) -> Result<()> {
    if !tally.wants("host storm") {
        return Ok(());
    }
    let command = || {
        let mut command = host_cargo("run");
        command.args(["--quiet", "--profile", "storm", "--package", "hv-storm", "--"]);
        command
    };
    if !tally.list {
        installer.need(&HOST)?;
        let built = step("storm: build", || shown(command().args(["--exits", "0"])));
        if let Err(error) = built {
            tally.record("host storm", Verdict::from_error(&error), std::time::Duration::ZERO);
            return Ok(());
        }
    }
    let extent: &[&str] = if tally.long { &STORM_LONG } else { &STORM };
    tally.run("host storm", || {
        let log = log_file("storm")?;
        Ok(match logged(command().args(extent), &log) {
            Ok(()) => Verdict::Pass,
            Err(error) => Verdict::from_error(&error),
        })
    });
    Ok(())
}

/// Package names of the default members, from their manifests.
fn default_members() -> Result<Vec<String>> {
    let root = place::root();
    let text = fs::read_to_string(root.join("Cargo.toml"))?;
    let manifest: toml::Table = text.parse().context("Cargo.toml")?;
    let members = manifest
        .get("workspace")
        .and_then(|w| w.get("default-members"))
        .and_then(toml::Value::as_array)
        .context("Cargo.toml has no workspace.default-members")?;
    let mut names = Vec::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let text = fs::read_to_string(root.join(member).join("Cargo.toml"))?;
        let manifest: toml::Table = text.parse().with_context(|| format!("{member}/Cargo.toml"))?;
        let name = manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str());
        names.push(name.with_context(|| format!("{member} has no name"))?.to_owned());
    }
    Ok(names)
}
