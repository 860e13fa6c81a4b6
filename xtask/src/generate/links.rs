// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links of all Markdown files: every relative one must lead to a file, every
//! anchor to a heading, and every page of the book must be in its summary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::below;

/// Where the book's pages are.
const BOOK: &str = "docs/src";

/// Every link that leads nowhere, as messages.
pub fn broken(root: &Path) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    walk(root, &mut pages)?;
    let mut wrong = Vec::new();
    for page in &pages {
        let text = read(page)?;
        for link in links(&text) {
            if let Some(why) = lost(page, &text, link)? {
                wrong.push(format!("{}: link to {link}: {why}", below(root, page)));
            }
        }
    }
    let summary = root.join(BOOK).join("SUMMARY.md");
    let listed = read(&summary)?;
    let listed: BTreeSet<PathBuf> =
        links(&listed).filter_map(|l| root.join(BOOK).join(l).canonicalize().ok()).collect();
    for page in pages.iter().filter(|p| p.starts_with(root.join(BOOK)) && **p != summary) {
        if !listed.contains(&page.canonicalize()?) {
            wrong.push(format!("{} is not in {BOOK}/SUMMARY.md", below(root, page)));
        }
    }
    Ok(wrong)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Every page below a directory; what builds leave behind and hidden
/// directories are not looked at.
fn walk(dir: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") {
                walk(&path, pages)?;
            }
        } else if path.extension().is_some_and(|x| x == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Text outside of fenced blocks, line by line.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` and `src="target"`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let until = |end: char| move |part: &'_ str| part.find(end);
    prose(text).flat_map(move |line| {
        let inline = line.split("](").skip(1).map(move |p| &p[..until(')')(p).unwrap_or(p.len())]);
        let sources =
            line.split("src=\"").skip(1).map(move |p| &p[..until('"')(p).unwrap_or(p.len())]);
        inline.chain(sources).collect::<Vec<_>>()
    })
}

/// Why a link leads nowhere.
fn lost(page: &Path, text: &str, link: &str) -> Result<Option<String>> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match (file, page.parent()) {
        ("", _) => page.to_path_buf(),
        (file, Some(dir)) => dir.join(file),
        (_, None) => return Ok(Some("the page has no directory".into())),
    };
    if !target.exists() {
        return Ok(Some("there is no such file".into()));
    }
    if anchor.is_empty() || target.is_dir() {
        return Ok(None);
    }
    let other = if file.is_empty() { text.to_owned() } else { read(&target)? };
    let found = prose(&other).filter_map(heading).any(|h| h == anchor);
    Ok((!found).then(|| "there is no such heading".into()))
}

/// The anchor that mdBook and code forges make of a heading.
fn heading(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = title.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    Some(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_blocks() {
        let text = "a [b](c.md) [d](e.md#f)\n```\n[no](x)\n```\n<img src=\"p.svg\">\n";
        assert_eq!(links(text).collect::<Vec<_>>(), ["c.md", "e.md#f", "p.svg"]);
    }

    #[test]
    fn headings_become_anchors() {
        assert_eq!(heading("## One `two`, three").as_deref(), Some("one-two-three"));
        assert_eq!(heading("#no"), None);
    }
}
