// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tests/bench/budgets.toml`: for each row the accepted figures, the target,
//! and what the peers take. A budget is exceeded when a row takes more than
//! 1 % above what was accepted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Tier;
use super::report::{Report, number};
use crate::place;

/// More than this above the accepted figure exceeds the budget.
const SLACK: f64 = 0.01;

/// What is known of a row.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Accepted instructions of the core.
    pub core: Option<f64>,
    /// Accepted exits.
    pub exits: Option<f64>,
    /// Instructions of the core that are aimed at.
    pub target: Option<f64>,
    /// What Xen 4.17 takes.
    pub xen: Option<f64>,
    /// What KVM 6.1 takes.
    pub kvm: Option<f64>,
}

/// What is known of a figure.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Accepted.
    pub accepted: Option<f64>,
    /// Aimed at.
    pub target: Option<f64>,
    /// Xen's.
    pub xen: Option<f64>,
}

/// The file.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// By row.
    #[serde(default)]
    pub rows: BTreeMap<String, Known>,
    /// By figure.
    #[serde(default)]
    pub figures: BTreeMap<String, Figure>,
}

const HEAD: &str = "\
# SPDX-License-Identifier: MIT OR Apache-2.0
# What each row of `cargo xtask bench` takes. `core` (instructions of the core
# for one operation) and `exits` are the accepted figures, which CI holds each
# change against; `cargo xtask bench --tier all --accept` writes them. `target`,
# `xen` and `kvm` are kept as they are: docs/src/reference/performance.md says
# where they come from.
";

fn path() -> PathBuf {
    place::root().join("tests/bench/budgets.toml")
}

impl Budgets {
    /// Reads the file.
    pub fn read() -> Result<Self> {
        let path = path();
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Writes the file, with what was measured as accepted.
    pub fn accept(&self, report: &Report) -> Result<()> {
        let mut new = self.clone();
        for row in &report.rows {
            let (cost, known) = (row.cost(), new.rows.entry(row.name.clone()).or_default());
            known.core = Some(cost.core);
            known.exits = Some(cost.exits);
        }
        for (name, value) in &report.figures {
            new.figures.entry(name.clone()).or_default().accepted = Some(*value as f64);
        }
        Ok(fs::write(path(), new.text())?)
    }

    fn text(&self) -> String {
        let mut out = HEAD.to_owned();
        // Writing to a string can't fail.
        let mut table = |kind: &str, name: &str, values: &[(&str, Option<f64>)]| {
            let _ = writeln!(out, "\n[{kind}.\"{name}\"]");
            for (key, value) in values {
                if let Some(value) = value {
                    let rounded = (value * 100.0).round() / 100.0;
                    let _ = writeln!(out, "{key} = {rounded:?}");
                }
            }
        };
        for (name, k) in &self.rows {
            let values = [
                ("core", k.core),
                ("exits", k.exits),
                ("target", k.target),
                ("xen", k.xen),
                ("kvm", k.kvm),
            ];
            table("rows", name, &values);
        }
        for (name, f) in &self.figures {
            let values = [("accepted", f.accepted), ("target", f.target), ("xen", f.xen)];
            table("figures", name, &values);
        }
        out
    }

    /// What is above its budget, or has none, or of `tier` was not measured.
    pub fn exceeded(&self, report: &Report, tier: Option<Tier>) -> Vec<String> {
        let mut out = Vec::new();
        let mut compare = |what: &str, accepted: Option<f64>, now: f64| match accepted {
            Some(accepted) if now > accepted * (1.0 + SLACK) => out.push(format!(
                "over budget: {what}: {} instead of {}, {:+.1} %",
                number(now),
                number(accepted),
                (now / accepted.max(1e-9) - 1.0) * 100.0
            )),
            Some(_) => {}
            None => out.push(format!(
                "no budget: {what}: {}; `cargo xtask bench --accept` accepts it",
                number(now)
            )),
        };
        for row in &report.rows {
            let (cost, known) = (row.cost(), self.rows.get(&row.name).cloned().unwrap_or_default());
            compare(&format!("{}, instructions", row.name), known.core, cost.core);
            compare(&format!("{}, exits", row.name), known.exits, cost.exits);
        }
        for (name, value) in &report.figures {
            let known = self.figures.get(name).and_then(|f| f.accepted);
            compare(name, known, *value as f64);
        }
        let measured = |name: &str| report.rows.iter().any(|row| row.name == name);
        for (name, _) in self.rows.iter().filter(|(_, known)| known.core.is_some()) {
            if tier.is_some_and(|tier| tier.has(name)) && !measured(name) {
                out.push(format!("missing: {name} was not measured"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::counter::Counts;
    use super::super::report::Row;
    use super::*;

    fn report(core: u64) -> Report {
        let mut report = Report::new("tcg");
        report.rows.push(Row {
            name: "cpuid".to_owned(),
            operations: 10,
            ticks: vec![0],
            windows: vec![Counts { core, control: 0, guest: 0, exits: 10 }],
        });
        report
    }

    #[test]
    fn a_percent_is_allowed() {
        let text = "[rows.cpuid]\ncore = 100.0\nexits = 1.0\ntarget = 60.0\n";
        let budgets: Budgets = toml::from_str(text).unwrap();
        assert!(budgets.exceeded(&report(1009), Some(Tier::Bare)).is_empty());
        assert_eq!(budgets.exceeded(&report(1011), None).len(), 1);
        assert_eq!(Budgets::default().exceeded(&report(1), None).len(), 2, "no budgets");
        let nothing = Report::new("tcg");
        assert_eq!(budgets.exceeded(&nothing, Some(Tier::Bare)).len(), 1, "not measured");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text =
            "[rows.\"create@1\"]\ncore = 1.5\nxen = 9.0\n[figures.image_bytes]\ntarget = 3.0\n";
        let budgets: Budgets = toml::from_str(text).unwrap();
        let again: Budgets = toml::from_str(&budgets.text()).unwrap();
        assert_eq!(again.rows["create@1"].core, Some(1.5));
        assert_eq!(again.rows["create@1"].xen, Some(9.0));
        assert_eq!(again.figures["image_bytes"].target, Some(3.0));
    }
}
