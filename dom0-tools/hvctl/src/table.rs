// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables: columns as wide as their widest cell, two blanks between them.

use crate::style::Paint;

/// A column's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A table in the making.
pub struct Table {
    heads: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
    /// Column whose cells are painted by what they say.
    state: Option<usize>,
}

impl Table {
    /// A table with these heads.
    pub fn new(heads: &[(&'static str, Side)]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
            state: heads.iter().position(|(head, _)| *head == "State"),
        }
    }

    /// Adds a row; it has as many cells as there are heads.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.heads.len());
        self.rows.push(cells);
    }

    /// The text, with a line per row and no blanks at the ends.
    pub fn text(&self, paint: Paint) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(self.heads[column].0.len())
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| head.to_string()).collect();
        let mut text = self.line(&heads, &widths, |_, _, cell| paint.bold(cell));
        for row in &self.rows {
            text += &self.line(row, &widths, |column, word, cell| match self.state {
                Some(state) if state == column => paint.state(word, cell),
                _ => cell.into(),
            });
        }
        text
    }

    fn line(
        &self,
        cells: &[String],
        widths: &[usize],
        paint: impl Fn(usize, &str, &str) -> String,
    ) -> String {
        let mut line = String::new();
        // Blanks at the end of a line would only make it wrap.
        let last = cells.iter().rposition(|c| !c.is_empty()).unwrap_or(0);
        for (column, cell) in cells.iter().enumerate().take(last + 1) {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let painted = paint(column, cell, cell);
            if column > 0 {
                line += "  ";
            }
            match self.heads[column].1 {
                Side::Right => line += &format!("{pad}{painted}"),
                Side::Left if column == last => line += &painted,
                Side::Left => line += &format!("{painted}{pad}"),
            }
        }
        line + "\n"
    }
}

/// Names and values, one pair per line.
pub fn pairs(pairs: &[(&str, String)], paint: Paint) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let pad = " ".repeat(width - name.len());
        format!("{}{pad}  {value}\n", paint.dim(name))
    };
    pairs.iter().map(line).collect()
}
