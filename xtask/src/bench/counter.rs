// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counting plugin (`tests/bench/counter.c`): builds it, and reads what
//! it writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::deps::{HOST, Installer};
use crate::place;
use crate::step::{log_file, logged};

/// Tags of marks.
const BEGIN: u64 = 1;
const END: u64 = 2;

/// Instructions by whom they ran for, and exits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// In the core.
    pub core: u64,
    /// In the control domain.
    pub control: u64,
    /// In guests.
    pub guest: u64,
    /// Exits from all domains.
    pub exits: u64,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts {
            core: self.core - before.core,
            control: self.control - before.control,
            guest: self.guest - before.guest,
            exits: self.exits - before.exits,
        }
    }

    /// All instructions.
    pub fn instructions(self) -> u64 {
        self.core + self.control + self.guest
    }
}

/// What was counted between a row's marks.
#[derive(Debug, Default)]
pub struct Window {
    /// The row's number.
    pub row: u64,
    /// What was counted.
    pub counts: Counts,
    /// How often each instruction of the core ran, when that was asked for.
    pub profile: BTreeMap<u64, u64>,
}

/// Builds the plugin.
pub fn build(installer: &Installer) -> Result<PathBuf> {
    installer.need(&HOST)?;
    let source = place::root().join("tests/bench/counter.c");
    let library = place::scratch("bench")?.join("counter.so");
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    logged(&mut command, &log_file("counter")?)?;
    Ok(library)
}

/// Reads the plugin's file.
pub fn read(path: &Path) -> Result<Vec<Window>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the plugin has not written {}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Window>> {
    let mut windows = Vec::new();
    let mut begun: Option<(u64, Counts)> = None;
    let mut profile = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("AT") => {
                let at = words.next().and_then(|w| u64::from_str_radix(w, 16).ok());
                let count = words.next().and_then(|w| w.parse().ok());
                let (at, count) = at.zip(count).with_context(|| format!("counter: `{line}`?"))?;
                profile.insert(at, count);
            }
            Some("MARK") => {
                let numbers: Vec<u64> = words.map_while(|w| w.parse().ok()).collect();
                let &[tag, row, core, control, guest, exits, ..] = numbers.as_slice() else {
                    bail!("counter: `{line}`?");
                };
                let now = Counts { core, control, guest, exits };
                match (tag, begun.take()) {
                    (BEGIN, _) => begun = Some((row, now)),
                    (END, Some((same, before))) if same == row => windows.push(Window {
                        row,
                        counts: now.since(before),
                        profile: std::mem::take(&mut profile),
                    }),
                    _ => bail!("counter: a window of row {row} ends that did not begin"),
                }
                profile.clear();
            }
            _ => {}
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_differences_between_marks() {
        let text = "MARK 1 7 100 10 20 1 81=1\nAT ff 3\nMARK 2 7 160 10 40 3 81=3\nEND 1 2 3 4\n";
        let windows = parse(text).unwrap();
        let [window] = windows.as_slice() else { panic!("{windows:?}") };
        assert_eq!(window.row, 7);
        assert_eq!(window.counts, Counts { core: 60, control: 0, guest: 20, exits: 2 });
        assert_eq!(window.profile, BTreeMap::from([(0xff, 3)]));
        assert!(parse("MARK 2 7 160 10 40 3\n").is_err());
        assert!(parse("MARK 1 1 0 0 0 0\nMARK 2 7 160 10 40 3\n").is_err());
    }
}
