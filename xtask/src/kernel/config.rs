// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel configuration fragments: joined, and compared with the outcome.
//!
//! `make allnoconfig` drops silently what it does not know and what lacks a
//! dependency; `lost` finds that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Joins fragments; a later one overrides an earlier one.
pub fn join(dir: &Path, names: &[&str]) -> Result<String> {
    let mut all = BTreeMap::new();
    for name in names {
        let path = dir.join(name);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the fragment {}", path.display()))?;
        all.extend(parse(&text).map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
    Ok(all.iter().map(|(k, v)| format!("{k}={v}\n")).collect())
}

/// The lines of `wish` that `config` does not fulfil, with what it has.
pub fn lost(wish: &str, config: &str) -> Vec<String> {
    let have: BTreeMap<&str, &str> = parse(config).collect();
    let mut out = Vec::new();
    for (name, wanted) in parse(wish) {
        let got = have.get(name).copied().unwrap_or("n");
        if got != wanted {
            out.push(format!("{name}={wanted} (is {got})"));
        }
    }
    out
}

/// `NAME=value` lines; "is not set" reads as `n`.
fn parse(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("# CONFIG_") {
            let name = rest.strip_suffix(" is not set")?;
            return Some((line.get(2..2 + "CONFIG_".len() + name.len())?, "n"));
        }
        let line = line.split(" #").next()?.trim();
        if line.starts_with("CONFIG_") { line.split_once('=') } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_line_is_named() {
        let wish = "CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=64\nCONFIG_D=y\n# text\n";
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=8\n";
        assert_eq!(lost(wish, config), ["CONFIG_C=64 (is 8)", "CONFIG_D=y (is n)"]);
    }

    #[test]
    fn the_later_fragment_wins() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "CONFIG_X=y\nCONFIG_Y=y # why\n").unwrap();
        fs::write(dir.path().join("b"), "# CONFIG_X is not set\n").unwrap();
        assert_eq!(join(dir.path(), &["a", "b"]).unwrap(), "CONFIG_X=n\nCONFIG_Y=y\n");
        assert!(join(dir.path(), &["c"]).is_err());
    }
}
