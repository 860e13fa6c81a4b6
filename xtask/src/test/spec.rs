// SPDX-License-Identifier: MIT OR Apache-2.0
//! The form of a system test: `tests/system/*.toml`, several per file.
//!
//! ```toml
//! [[test]]
//! name = "create-destroy"
//! exec = "hvctl create /etc/hv/demo.toml && hvctl destroy demo"
//! smp = [1, 2, 4]
//! output = ["running"]
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use serde::Deserialize;

use crate::bed::{Bed, parse_memory};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFile {
    test: Vec<Spec>,
}

/// How the machine is booted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// QEMU's `-kernel`
    #[default]
    Kernel,
    /// GRUB, BIOS
    Iso,
    /// GRUB, UEFI
    Uefi,
}

/// What stands in for the control domain's kernel or initrd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Module {
    /// The real one
    #[default]
    Good,
    /// Bytes that are no kernel or archive
    Garbage,
    /// Only its first 8 KiB
    Short,
    /// None at all
    Missing,
}

/// One system test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name, unique.
    pub name: String,
    /// The command line to run in the control domain. Without one, the test
    /// waits until the core's log fulfils `core_log`.
    pub exec: Option<String>,
    /// A run for each of these CPU counts.
    #[serde(default = "two")]
    pub smp: Vec<u32>,
    /// Memory of the machine.
    pub mem: Option<String>,
    /// The command's exit code.
    #[serde(default)]
    pub exit: i32,
    /// The machine goes off while the command runs.
    #[serde(default)]
    pub off: bool,
    /// Patterns the output must have. `@PAYLOAD@` stands for the SHA-256 of
    /// the file that the machine offers by TFTP.
    #[serde(default)]
    pub output: Vec<String>,
    /// Patterns the output must not have.
    #[serde(default)]
    pub output_not: Vec<String>,
    /// Patterns the core's log must have.
    #[serde(default)]
    pub core_log: Vec<String>,
    /// Patterns the core's log must not have, besides `ALWAYS_BAD`.
    #[serde(default)]
    pub core_log_not: Vec<String>,
    /// Seconds; on Bochs four times as many.
    #[serde(default = "two_hundred")]
    pub timeout: u64,
    /// The QEMU beds it can run on.
    #[serde(default = "tcg")]
    pub beds: Vec<String>,
    /// Only with `--long`.
    #[serde(default)]
    pub long: bool,
    /// How to boot.
    #[serde(default)]
    pub via: Via,
    /// Options of the core.
    #[serde(default)]
    pub core_args: String,
    /// More arguments for the control domain's kernel.
    #[serde(default)]
    pub kernel_args: String,
    /// What stands in for the kernel.
    #[serde(default)]
    pub kernel: Module,
    /// What stands in for the initrd.
    #[serde(default)]
    pub initrd: Module,
    /// CPU features to take away (QEMU's names).
    #[serde(default)]
    pub cpu_without: Vec<String>,
    /// The machines of the Bochs bed, in place of `smp`.
    #[serde(default)]
    pub bochs: Vec<Bochs>,
}

/// A machine of the Bochs bed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bochs {
    /// CPUs.
    pub smp: u32,
    /// CPU model, by Bochs's names.
    pub cpu: String,
}

/// One run of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// What distinguishes it from the test's other runs, for its name.
    pub label: String,
    /// CPUs.
    pub smp: u32,
    /// CPU model of the Bochs bed.
    pub cpu: Option<String>,
}

/// What no core log may show unless the test is about it.
pub const ALWAYS_BAD: &[&str] = &["(?m)^PANIC:", "(?i)unhandled exit"];

fn two() -> Vec<u32> {
    vec![2]
}

fn two_hundred() -> u64 {
    200
}

fn tcg() -> Vec<String> {
    vec!["tcg".to_owned(), "kvm".to_owned()]
}

impl Spec {
    /// Its runs on `bed`; none if it is not for that bed.
    pub fn variants(&self, bed: Bed) -> Vec<Variant> {
        if bed == Bed::Bochs {
            let machines = self.bochs.iter();
            let variant = |m: &Bochs| Variant {
                label: format!(" smp={} cpu={}", m.smp, m.cpu),
                smp: m.smp,
                cpu: Some(m.cpu.clone()),
            };
            return machines.map(variant).collect();
        }
        if !self.beds.iter().any(|b| b == bed.name()) {
            return Vec::new();
        }
        let label = |smp| if self.smp.len() > 1 { format!(" smp={smp}") } else { String::new() };
        let variant = |&smp| Variant { label: label(smp), smp, cpu: None };
        self.smp.iter().map(variant).collect()
    }

    /// Memory in MiB, if the test says so.
    pub fn memory(&self) -> Result<Option<u64>> {
        let parsed = self.mem.as_deref().map(parse_memory).transpose();
        parsed.map_err(|e| anyhow::anyhow!("{}: mem: {e}", self.name))
    }

    /// Finds mistakes before any machine boots.
    fn check(&self) -> Result<()> {
        let lists = [&self.output, &self.output_not, &self.core_log, &self.core_log_not];
        for pattern in lists.into_iter().flatten() {
            Regex::new(pattern).with_context(|| format!("{}: pattern {pattern}", self.name))?;
        }
        if self.exec.is_none() && self.core_log.is_empty() {
            bail!("{}: needs exec or core_log", self.name);
        }
        if let Some(bed) = self.beds.iter().find(|b| !["tcg", "kvm"].contains(&b.as_str())) {
            bail!("{}: no bed is called {bed} (Bochs's are under `bochs`)", self.name);
        }
        self.memory().map(drop)
    }
}

/// Reads every `*.toml` of `dir`, in the order of names.
pub fn read_all(dir: &Path) -> Result<Vec<Spec>> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|x| x == "toml"))
        .collect();
    files.sort();
    let mut all: Vec<Spec> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        for spec in parse(&text).with_context(|| file.display().to_string())? {
            if all.iter().any(|s| s.name == spec.name) {
                bail!("{}: a second test is called {}", file.display(), spec.name);
            }
            all.push(spec);
        }
    }
    Ok(all)
}

fn parse(text: &str) -> Result<Vec<Spec>> {
    let specs = toml::from_str::<SpecFile>(text)?.test;
    specs.iter().try_for_each(Spec::check)?;
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let specs = parse("[[test]]\nname = 'a'\nexec = 'true'\n").unwrap();
        let [spec] = specs.as_slice() else { panic!("one test") };
        assert_eq!((spec.smp.as_slice(), spec.exit, spec.via), (&[2][..], 0, Via::Kernel));
        let run = Variant { label: String::new(), smp: 2, cpu: None };
        assert_eq!(spec.variants(Bed::Tcg), [run]);
        assert!(spec.variants(Bed::Bochs).is_empty());
    }

    #[test]
    fn bochs_has_machines_of_its_own() {
        let text = "[[test]]\nname = 'a'\nexec = 'true'\nbeds = []\n\
                    bochs = [{ smp = 1, cpu = 'corei7_haswell_4770' }]\n";
        let specs = parse(text).unwrap();
        let [spec] = specs.as_slice() else { panic!("one test") };
        assert!(spec.variants(Bed::Tcg).is_empty());
        let runs = spec.variants(Bed::Bochs);
        let [run] = runs.as_slice() else { panic!("one run") };
        assert_eq!((run.smp, run.label.as_str()), (1, " smp=1 cpu=corei7_haswell_4770"));
    }

    #[test]
    fn mistakes_are_found_early() {
        for bad in ["exe = 'x'", "exec = 'x'\noutput = ['(']", "exec='x'\nbeds=['qemu']", "smp=[1]"]
        {
            assert!(parse(&format!("[[test]]\nname = 'a'\n{bad}\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_projects_own_tests_parse() {
        read_all(&crate::place::root().join("tests/system")).unwrap();
    }
}
