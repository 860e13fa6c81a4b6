// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plots: one curve for each operation that was measured with several numbers
//! of domains (`name@n`), and a comparison with peers and targets.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::budget::Budgets;
use super::report::Report;

const SIZE: (u32, u32) = (760, 420);
const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const XEN: RGBColor = RGBColor(0xd6, 0x27, 0x28);
const KVM: RGBColor = RGBColor(0x2c, 0xa0, 0x2c);
const TARGET: RGBColor = RGBColor(0x7f, 0x7f, 0x7f);
const FONT: (&str, u32) = ("sans-serif", 14);

/// Writes all plots that the report has the rows for.
pub fn all(report: &Report, budgets: &Budgets, directory: &Path) -> Result<()> {
    let mut curves: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for row in report.rows.iter().filter(|row| !row.windows.is_empty()) {
        if let Some((name, there)) = row.name.split_once('@') {
            let cost = row.cost();
            curves.entry(name).or_default().push((there.parse()?, cost.core + cost.control));
        }
    }
    for (name, points) in &curves {
        let file = directory.join(format!("scale-{name}.svg"));
        curve(name, points, &file).map_err(|e| anyhow!("{}: {e}", file.display()))?;
    }
    let file = directory.join("comparison.svg");
    comparison(report, budgets, &file).map_err(|e| anyhow!("{}: {e}", file.display()))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn curve(name: &str, points: &[(f64, f64)], file: &Path) -> Drawn {
    let most = points.iter().fold(0f64, |most, p| most.max(p.1));
    let last = points.iter().fold(1f64, |last, p| last.max(p.0));
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{name}: instructions, by domains there already"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(80)
        .build_cartesian_2d(0f64..last * 1.02, 0f64..most * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("domains")
        .y_desc("instructions of core and control domain")
        .label_style(FONT)
        .y_label_formatter(&|v| super::report::number(v.round()))
        .x_label_formatter(&|v| format!("{v:.0}"))
        .draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), OURS.stroke_width(2)))?;
    chart.draw_series(points.iter().map(|p| Circle::new(*p, 4, OURS.filled())))?;
    Ok(root.present()?)
}

/// Bars on a logarithmic scale: every row that has a peer's figure or a target.
fn comparison(report: &Report, budgets: &Budgets, file: &Path) -> Drawn {
    let mut bars = Vec::new();
    for row in report.rows.iter().filter(|row| !row.windows.is_empty()) {
        let Some(known) = budgets.rows.get(&row.name) else { continue };
        if known.xen.is_none() && known.kvm.is_none() && known.target.is_none() {
            continue;
        }
        let values = [
            (Some(row.cost().core), OURS),
            (known.target, TARGET),
            (known.xen, XEN),
            (known.kvm, KVM),
        ];
        bars.push((row.name.clone(), values));
    }
    if bars.is_empty() {
        return Ok(());
    }
    let all = || bars.iter().flat_map(|(_, values)| values.iter().filter_map(|v| v.0));
    let most = all().fold(10f64, f64::max) * 2.0;
    let root = SVGBackend::new(file, (900, 60 + 70 * bars.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Instructions in the core: hv, target, Xen, KVM", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(190)
        .build_cartesian_2d((1f64..most).log_scale(), 0f64..bars.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .label_style(FONT)
        .x_label_formatter(&|v| super::report::number(v.round()))
        .draw()?;
    for (index, (name, values)) in bars.iter().enumerate() {
        let top = (bars.len() - index) as f64;
        for (place, (value, colour)) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (high, low) = (top - 0.1 - 0.2 * place as f64, top - 0.28 - 0.2 * place as f64);
            chart.draw_series([Rectangle::new(
                [(1.0, low), (value.max(1.1), high)],
                colour.filled(),
            )])?;
        }
        let at = chart.backend_coord(&(1.0, top - 0.5));
        root.draw(&Text::new(name.clone(), (16, at.1 - 7), FONT))?;
    }
    Ok(root.present()?)
}
