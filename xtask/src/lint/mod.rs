// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lint`: the project's own rules, beyond what clippy knows.
//!
//! Rust files: `rust.rs`; all text: `text.rs`; the core's logic knows no
//! vendor: `vendor.rs`; kernel patches: the kernel's own checkpatch.pl; panics
//! in the built core: `panics.rs`; tests that the book names: `guarantees.rs`.
//! Also reports the share of unsafe lines per room.

mod callgraph;
mod guarantees;
mod lex;
mod panics;
mod rust;
mod text;
mod vendor;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{self, BuildArgs};
use crate::deps::{Installer, KERNEL};
use crate::kernel::series::Series;
use crate::kernel::source::Source;
use crate::place;
use crate::step::{note, output, step};

/// Checks the whole work tree.
pub fn run(installer: &Installer) -> Result<()> {
    let mut complaints = step("lint: files", files)?;
    complaints.extend(step("lint: kernel patches", || patches(installer))?);
    complaints.extend(guarantees::check(place::root())?);
    let core = build::build(installer, &BuildArgs::default())?;
    let (found, text) = step("lint: panics in the image", || panics::check(&core.elf))?;
    note(&text);
    complaints.extend(found);
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("lint: {} complaints", complaints.len());
    }
    Ok(())
}

/// The most unsafe lines a room may have, in tenths of a percent of its code.
/// They are to sink, never to rise. (The core's target is 30.)
const BUDGETS: &[(&str, usize)] = &[("hv-core", 34), ("dom0-tools/client", 25)];

/// Rooms whose share has grown beyond its budget.
fn over_budget(shares: &BTreeMap<String, rust::Share>) -> Vec<String> {
    let mut out = Vec::new();
    for (room, budget) in BUDGETS {
        let of = |count: fn(&rust::Share) -> usize| -> usize {
            let inside = shares.iter().filter(|(name, _)| name.starts_with(room));
            inside.map(|(_, share)| count(share)).sum()
        };
        let (inside, code) = (of(|s| s.inside), of(|s| s.code));
        let tenths = (inside * 1000).div_ceil(code.max(1));
        note(&format!("unsafe in {room}: {inside} of {code} lines, budget {budget}/1000"));
        if tenths > *budget {
            out.push(format!("{room}: {tenths}/1000 of its lines are unsafe, at most {budget}"));
        }
    }
    out
}

fn files() -> Result<Vec<String>> {
    let root = place::root();
    let list = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut out = Vec::new();
    let mut shares: BTreeMap<String, rust::Share> = BTreeMap::new();
    for path in list.lines() {
        // Deleted but not yet committed, a link, or not text: not ours.
        let Ok(source) = fs::read_to_string(root.join(path)) else { continue };
        let mut found = text::check(root, path, &source);
        found.extend(vendor::check(path, &source));
        if path.ends_with(".rs") {
            let (more, share) = rust::check(path, &source);
            found.extend(more);
            let room: Vec<&str> = path.split('/').take(2).collect();
            let sum = shares.entry(room.join("/")).or_default();
            sum.code += share.code;
            sum.inside += share.inside;
        }
        out.extend(found.iter().map(|c| format!("{path}:{c}")));
    }
    for (room, share) in shares.iter().filter(|(_, s)| s.inside > 0) {
        let tenths = share.inside * 1000 / share.code.max(1);
        note(&format!(
            "unsafe in {room}: {} of {} lines ({}.{} %)",
            share.inside,
            share.code,
            tenths / 10,
            tenths % 10
        ));
    }
    out.extend(over_budget(&shares));
    Ok(out)
}

/// Runs the kernel's checkpatch over the series.
fn patches(installer: &Installer) -> Result<Vec<String>> {
    let room = place::root().join("pv-guest-kernel-patches");
    let series = Series::read(&room)?;
    installer.need(&KERNEL)?;
    let source = Source::find(None)?;
    let tree = source.unpacked()?;
    let mut out = Vec::new();
    for patch in &series.patches {
        let checked = Command::new("perl")
            .current_dir(&tree.pristine)
            .arg("scripts/checkpatch.pl")
            .args(["--quiet", "--terse", "--no-summary", "--show-types"])
            // The series is kept outside the kernel's MAINTAINERS file.
            .args(["--ignore", "FILE_PATH_CHANGES"])
            .arg(patch.path.canonicalize()?)
            .output()?;
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        out.extend(text.lines().map(|l| l.replace(&format!("{}/", place::root().display()), "")));
    }
    Ok(out)
}
