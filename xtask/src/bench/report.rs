// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result: rows and figures, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::budget::Budgets;
use super::counter::Counts;

/// Windows of a row may differ by this much of the least.
const SPREAD: f64 = 0.005;
/// Modelled cycles: instructions a cycle, and cycles an exit takes by itself
/// on hardware (published round trips are 700 to 1,400).
const PER_CYCLE: f64 = 1.3;
const EXIT_CYCLES: f64 = 1000.0;

/// One operation.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name; `@n` at its end: with so many domains there.
    pub name: String,
    /// Operations in a window.
    pub operations: u64,
    /// Each window's TSC ticks.
    pub ticks: Vec<u64>,
    /// Each window's counts; none where only the TSC counts.
    pub windows: Vec<Counts>,
}

/// What one operation takes, on average.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Instructions in the core, the control domain, guests.
    pub core: f64,
    pub control: f64,
    pub guest: f64,
    /// Exits.
    pub exits: f64,
    /// Modelled cycles.
    pub cycles: f64,
}

impl Row {
    /// What one operation takes.
    pub fn cost(&self) -> Cost {
        let all = (self.operations * self.windows.len() as u64).max(1) as f64;
        let sum =
            |part: fn(&Counts) -> u64| self.windows.iter().map(part).sum::<u64>() as f64 / all;
        let exits = sum(|c| c.exits);
        Cost {
            core: sum(|c| c.core),
            control: sum(|c| c.control),
            guest: sum(|c| c.guest),
            exits,
            cycles: sum(|c| c.instructions()) / PER_CYCLE + exits * EXIT_CYCLES,
        }
    }

    /// Ticks of one operation.
    pub fn ticks(&self) -> f64 {
        let all = (self.operations * self.ticks.len() as u64).max(1) as f64;
        self.ticks.iter().sum::<u64>() as f64 / all
    }

    /// How far the windows are apart, relative to the least.
    pub fn spread(&self) -> f64 {
        let totals: Vec<u64> = match self.windows.as_slice() {
            [] => self.ticks.clone(),
            windows => windows.iter().map(|c| c.instructions()).collect(),
        };
        let (least, most) = (totals.iter().min(), totals.iter().max());
        match (least, most) {
            (Some(least), Some(most)) => (most - least) as f64 / (*least).max(1) as f64,
            _ => 0.0,
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The bed.
    pub bed: String,
    /// Rows, in the order they ran.
    pub rows: Vec<Row>,
    /// Figures that are asked for, not counted.
    pub figures: BTreeMap<String, u64>,
    /// Rows that failed, with the reason.
    pub broken: Vec<String>,
}

impl Report {
    /// Nothing yet.
    pub fn new(bed: &str) -> Self {
        Self { bed: bed.to_owned(), rows: Vec::new(), figures: BTreeMap::new(), broken: Vec::new() }
    }

    /// What makes the benchmark itself fail.
    pub fn complaints(&self) -> Vec<String> {
        let mut out: Vec<String> = self.broken.iter().map(|b| format!("failed: {b}")).collect();
        for row in &self.rows {
            if row.spread() > SPREAD {
                let percent = row.spread() * 100.0;
                out.push(format!("not steady: {}: windows differ by {percent:.2} %", row.name));
            }
            // The plugin must have seen every window that the image measured.
            if self.bed == "tcg" && row.windows.len() != row.ticks.len() {
                let seen = row.windows.len();
                out.push(format!("incomplete: {}: {seen} windows were counted", row.name));
            }
        }
        out
    }

    /// As JSON, with the cost of each row.
    pub fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Whole<'a> {
            cost: BTreeMap<&'a str, Cost>,
            #[serde(flatten)]
            report: &'a Report,
        }
        let cost = self.rows.iter().map(|row| (row.name.as_str(), row.cost())).collect();
        Ok(serde_json::to_string_pretty(&Whole { cost, report: self })? + "\n")
    }

    /// As a table in Markdown, beside targets and peers.
    pub fn table(&self, budgets: &Budgets) -> String {
        let mut out = String::new();
        if self.rows.iter().all(|row| row.windows.is_empty()) {
            out.push_str("| Operation | ticks |\n|---|--:|\n");
            for row in &self.rows {
                // Writing to a string can't fail.
                let _ = writeln!(out, "| {} | {} |", row.name, number(row.ticks()));
            }
            return out;
        }
        out.push_str(
            "| Operation | core | control | guest | exits | modelled cycles | target | Xen | KVM |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for row in &self.rows {
            let (cost, known) = (row.cost(), budgets.rows.get(&row.name));
            let other = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {:.2} | {} | {} | {} | {} |",
                row.name,
                number(cost.core),
                number(cost.control),
                number(cost.guest),
                cost.exits,
                number(cost.cycles),
                other(known.and_then(|k| k.target)),
                other(known.and_then(|k| k.xen)),
                other(known.and_then(|k| k.kvm)),
            );
        }
        if !self.figures.is_empty() {
            out.push_str("\n| Figure | value | target | Xen |\n|---|--:|--:|--:|\n");
        }
        for (name, value) in &self.figures {
            let known = budgets.figures.get(name);
            let other = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
            let _ = writeln!(
                out,
                "| {name} | {} | {} | {} |",
                number(*value as f64),
                other(known.and_then(|k| k.target)),
                other(known.and_then(|k| k.xen)),
            );
        }
        out
    }
}

/// A number with separators between thousands; small ones with a digit.
pub fn number(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cores: [u64; 3]) -> Row {
        let windows = cores.map(|core| Counts { core, control: 0, guest: 10, exits: 10 });
        Row { name: "x".to_owned(), operations: 10, ticks: vec![1; 3], windows: windows.into() }
    }

    #[test]
    fn an_operation_is_a_share_of_its_windows() {
        let cost = row([1000, 1000, 1000]).cost();
        assert_eq!((cost.core, cost.guest, cost.exits), (100.0, 1.0, 1.0));
        assert!((cost.cycles - (101.0 / 1.3 + 1000.0)).abs() < 1e-9);
    }

    #[test]
    fn unsteady_windows_are_a_complaint() {
        let mut report = Report::new("tcg");
        report.rows = vec![row([1000, 1000, 1004])];
        assert!(report.complaints().is_empty());
        report.rows = vec![row([1000, 1000, 1010])];
        assert_eq!(report.complaints().len(), 1);
    }

    #[test]
    fn numbers_have_separators() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(12.0), "12");
        assert_eq!(number(12.25), "12.2");
        assert_eq!(number(999.6), "1,000");
    }
}
