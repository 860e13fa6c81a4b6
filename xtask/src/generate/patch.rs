// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel series has a header of its own, under its own licence. What it
//! defines must be what the generated header defines: each constant with the
//! same value, each structure with the same fields.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The header within a patched kernel.
const FILE: &str = "include/linux/hvx_abi.h";
const SERIES: &str = "pv-guest-kernel-patches";

/// Every difference, as messages.
pub fn differences(root: &Path, ours: &str) -> Result<Vec<String>> {
    let theirs = read(&root.join(SERIES))?;
    Ok(compare(&theirs, ours))
}

/// The header as the series makes it. Later patches may only add to it.
fn read(dir: &Path) -> Result<String> {
    let series = fs::read_to_string(dir.join("series")).context("cannot read the series")?;
    let mut text = String::new();
    for name in series.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let patch = fs::read_to_string(dir.join(name))
            .with_context(|| format!("cannot read {SERIES}/{name}"))?;
        text.push_str(&added(&patch));
    }
    Ok(text)
}

/// The lines that a patch adds to the header.
fn added(patch: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in patch.lines() {
        if let Some(file) = line.strip_prefix("+++ b/") {
            inside = file.trim() == FILE;
        } else if line.starts_with("diff --git ") || line == "-- " {
            inside = false;
        } else if inside && let Some(line) = line.strip_prefix('+') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn compare(theirs: &str, ours: &str) -> Vec<String> {
    let about = |what: String| format!("{SERIES}: {FILE} {what}");
    let mut wrong = Vec::new();
    let (mine, other) = (defines(ours), defines(theirs));
    if other.is_empty() {
        wrong.push(about("has no constants; was it renamed?".into()));
    }
    for (name, value) in other.iter().filter(|(name, _)| !name.ends_with("_ABI_H")) {
        match mine.get(name) {
            None => wrong.push(about(format!("defines {name}, which is not in the interface"))),
            Some(own) if evaluate(own) != evaluate(value) => wrong
                .push(about(format!("defines {name} as {value}; the interface has it as {own}"))),
            Some(_) => {}
        }
    }
    let (mine, other) = (structures(ours), structures(theirs));
    for (name, fields) in &other {
        match mine.get(name) {
            None => wrong.push(about(format!("has {name}, which is not in the interface"))),
            Some(own) if own != fields => wrong.push(about(format!(
                "has {name} as {{ {} }}; the interface has it as {{ {} }}",
                fields.join(" "),
                own.join(" ")
            ))),
            Some(_) => {}
        }
    }
    wrong
}

/// Name and value of each `#define`, comments removed.
fn defines(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .map(|line| {
            let line = line.split("/*").next().unwrap_or(line);
            let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}

/// The number a value stands for, or its text.
fn evaluate(value: &str) -> String {
    let bare = value.trim_start_matches('(').trim_end_matches(')');
    let plain = |text: &str| {
        let text = text.trim().trim_end_matches(['U', 'L', 'u', 'l']);
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    };
    let shifted = bare.split_once("<<");
    let number = match shifted {
        Some((one, by)) => plain(one).zip(plain(by)).map(|(one, by)| one << by),
        None => plain(bare),
    };
    number.map_or_else(|| value.to_owned(), |n| n.to_string())
}

/// The fields of each structure, blanks made even.
fn structures(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        let line = line.split("/*").next().unwrap_or(line);
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match &mut open {
            None => {
                if let Some(name) = words.strip_suffix(" {").filter(|n| n.starts_with("struct ")) {
                    open = Some((name.to_owned(), Vec::new()));
                }
            }
            Some(_) if words.starts_with('}') => found.extend(open.take()),
            Some((_, fields)) if !words.is_empty() => fields.push(words),
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "#define A 7\n#define B (1U << 3)\nstruct s {\n\t__u32 x;\n};\n";

    #[test]
    fn the_same_in_other_words_is_the_same() {
        let theirs = "#define A\t0x7 /* seven */\n#define B 8\nstruct s {\n\t__u32\tx;\n};\n";
        assert_eq!(compare(theirs, OURS), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_named() {
        let theirs = "#define A 8\n#define C 1\nstruct s {\n\t__u64 x;\n};\nstruct t {\n};\n";
        let wrong = compare(theirs, OURS);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].contains("defines A as 8; the interface has it as 7"));
        assert!(wrong[1].contains("defines C"));
        assert!(wrong[2].contains("__u64 x;") && wrong[3].contains("struct t"));
    }

    #[test]
    fn only_the_header_is_read_from_a_patch() {
        let patch = "+++ b/x.c\n+no\n+++ b/include/linux/hvx_abi.h\n@@ @@\n+yes\n-- \n2.1\n+no\n";
        assert_eq!(added(patch), "yes\n");
    }
}
