// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in the core a row's instructions are: by function, most first, for
//! each operation.

use std::collections::BTreeMap;
use std::path::Path;

use addr2line::Loader;
use anyhow::{Result, anyhow};

use super::counter::Window;

/// Functions shown of a row.
const SHOWN: usize = 40;

/// Prints the last window of each row, as shares of its instructions.
pub fn show(windows: &[Window], names: &BTreeMap<u64, String>, elf: &Path) -> Result<()> {
    let loader = Loader::new(elf).map_err(|e| anyhow!("cannot read {}: {e}", elf.display()))?;
    let last: BTreeMap<u64, &Window> = windows.iter().map(|w| (w.row, w)).collect();
    for (row, window) in last {
        let mut functions: BTreeMap<String, u64> = BTreeMap::new();
        for (at, count) in &window.profile {
            *functions.entry(name(&loader, *at)).or_default() += count;
        }
        let mut sorted: Vec<_> = functions.into_iter().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total = window.counts.core.max(1);
        println!("{}: {total} instructions of the core", names.get(&row).map_or("?", |n| n));
        for (name, count) in sorted.iter().take(SHOWN) {
            println!("{:6.2} % {count:9}  {name}", *count as f64 * 100.0 / total as f64);
        }
    }
    Ok(())
}

/// The innermost function, with that it was inlined into.
fn name(loader: &Loader, at: u64) -> String {
    let mut chain = Vec::new();
    if let Ok(mut frames) = loader.find_frames(at) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|f| f.demangle().ok());
            chain.push(name.map_or_else(|| "?".to_owned(), |n| n.into_owned()));
        }
    }
    match (chain.first(), chain.last()) {
        (Some(inner), Some(outer)) if chain.len() > 1 => format!("{inner} in {outer}"),
        (Some(inner), _) => inner.clone(),
        _ => loader.find_symbol(at).unwrap_or("?").to_owned(),
    }
}
