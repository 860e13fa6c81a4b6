// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page of guarantees names tests; each must be there. A name is a code
//! span `KIND/NAME` of the kinds in [`exists`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The page.
const PAGE: &str = "docs/src/explanation/guarantees.md";

/// Complaints: names that are no test's, rows that name none.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let sources = Sources::read(root)?;
    let mut out = Vec::new();
    let mut rows = 0;
    for (n, line) in text.lines().enumerate().filter(|(_, l)| l.starts_with("| ")) {
        let Some(shown) = line.trim_end_matches('|').rsplit('|').next() else { continue };
        if line.starts_with("| Guarantee") {
            continue;
        }
        rows += 1;
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            out.push(format!("{PAGE}:{}: no test shows this", n + 1));
        }
        for name in names.iter().filter(|name| !sources.exists(name)) {
            out.push(format!("{PAGE}:{}: there is no test {name}", n + 1));
        }
    }
    if rows == 0 {
        out.push(format!("{PAGE}: no guarantees"));
    }
    Ok(out)
}

/// Where tests are.
struct Sources {
    /// Micro-guests, as their list names them.
    guests: String,
    /// Rust text by crate.
    crates: Vec<(&'static str, String)>,
    system: String,
    fuzz: String,
    lints: Vec<String>,
}

const CRATES: &[(&str, &str)] = &[
    ("hv-abi", "ring-protocol/abi"),
    ("hv-ring", "ring-protocol/ring"),
    ("hv-io", "ring-protocol/io"),
    ("hv-hal", "hv-core/hal"),
    ("hv-kernel", "hv-core/kernel"),
    ("hv-client", "dom0-tools/client"),
    ("hv-toolstack", "dom0-tools/toolstack"),
    ("hvd", "dom0-tools/hvd"),
    ("hvctl", "dom0-tools/hvctl"),
];

impl Sources {
    fn read(root: &Path) -> Result<Self> {
        let mut crates = Vec::new();
        for (name, room) in CRATES.iter().filter(|(_, room)| root.join(room).is_dir()) {
            crates.push((*name, all(&root.join(room), "rs")?));
        }
        let lints = fs::read_dir(root.join("xtask/src/lint"))?
            .flatten()
            .filter_map(|f| f.path().file_stem().and_then(|s| s.to_str()).map(str::to_owned));
        Ok(Self {
            guests: fs::read_to_string(root.join("tests/guests/src/tests/mod.rs"))?,
            crates,
            system: all(&root.join("tests/system"), "toml")?,
            fuzz: fs::read_to_string(root.join("tests/fuzz/Cargo.toml"))?,
            lints: lints.collect(),
        })
    }

    fn exists(&self, name: &str) -> bool {
        let named = |text: &str, name: &str| text.contains(&format!("name = \"{name}\""));
        match name.split_once('/') {
            None => name == "storm",
            Some(("guest", test)) => self.guests.lines().any(|l| l.trim() == test),
            Some(("system", test)) => named(&self.system, test),
            Some(("fuzz", target)) => named(&self.fuzz, target),
            Some(("lint", check)) => self.lints.iter().any(|l| l == check),
            Some(("host", rest)) => rest.split_once('/').is_some_and(|(of, test)| {
                let start = format!("fn {test}(");
                self.crates.iter().any(|(c, text)| *c == of && text.contains(&start))
            }),
            Some(_) => false,
        }
    }
}

/// All text of a directory's files of one kind.
fn all(dir: &Path, kind: &str) -> Result<String> {
    let mut out = String::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.push_str(&all(&path, kind)?);
        } else if path.extension().is_some_and(|e| e == kind) {
            out.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_or_not() {
        let sources = Sources {
            guests: "tests! {\n    ports\n    port\n}".into(),
            crates: vec![("hv-hal", "fn good_ones_pass() {}".into())],
            system: "name = \"boot\"".into(),
            fuzz: "name = \"exits\"".into(),
            lints: vec!["panics".into()],
        };
        for good in ["guest/ports", "host/hv-hal/good_ones_pass", "system/boot", "fuzz/exits"] {
            assert!(sources.exists(good), "{good}");
        }
        assert!(sources.exists("storm") && sources.exists("lint/panics"));
        for bad in ["guest/por", "host/hv-hal/good", "host/hv-abi/good_ones_pass", "x", "a/b"] {
            assert!(!sources.exists(bad), "{bad}");
        }
    }
}
