// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules for all text files: licence header, white space, links, and nothing
//! that belongs to one person's machine.

use std::path::Path;

/// Kinds of files that carry a licence line at their head.
const LICENSED: &[&str] = &["rs", "s", "S", "ld", "sh", "c", "h", "py"];
/// Paths of particular machines, which mean nothing to a reader. (In two
/// pieces, so that this file does not complain about itself.)
const FOREIGN: &[&str] = &[concat!("/wor", "k/"), concat!("/home", "/")];

/// Checks one file; complaints are "LINE: text".
pub fn check(root: &Path, path: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let extension = Path::new(path).extension().and_then(|x| x.to_str()).unwrap_or("");
    let script = text.starts_with("#!");
    if (LICENSED.contains(&extension) || script)
        && !text.lines().take(3).any(|l| l.contains("SPDX-License-Identifier:"))
    {
        out.push("1: no SPDX-License-Identifier in the first three lines".to_owned());
    }
    // A patch's context lines end as the kernel's do.
    let patch = extension == "patch";
    for (n, line) in text.lines().enumerate() {
        if !patch && line.ends_with([' ', '\t']) {
            out.push(format!("{}: white space at the end of the line", n + 1));
        }
        if FOREIGN.iter().any(|f| line.contains(f)) {
            out.push(format!("{}: a path of one particular machine", n + 1));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        out.push("0: no line break at the end of the file".to_owned());
    }
    if extension == "md" {
        out.extend(links(root, path, text));
    }
    out
}

/// Relative links of a Markdown file that lead nowhere.
fn links(root: &Path, path: &str, text: &str) -> Vec<String> {
    let dir = root.join(path).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut out = Vec::new();
    let mut fenced = false;
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(line) {
            let file = target.split('#').next().unwrap_or("");
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            if !dir.join(file).exists() {
                out.push(format!("{}: the link to {file} leads nowhere", n + 1));
            }
        }
    }
    out
}

/// The targets of `[text](target)` in a line, code spans left out.
fn targets(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for (n, part) in line.split('`').enumerate() {
        if n % 2 == 1 {
            continue;
        }
        let mut rest = part;
        while let Some((_, after)) = rest.split_once("](") {
            let end = after.find(')').unwrap_or(after.len());
            let inner = after.get(..end).unwrap_or("");
            out.extend(inner.split_whitespace().next());
            rest = after.get(end..).unwrap_or("");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_white_space() {
        let root = Path::new("/");
        assert_eq!(check(root, "a.rs", "fn f() {} \n").len(), 2);
        let good = "// SPDX-License-Identifier: MIT OR Apache-2.0\n";
        assert!(check(root, "a.rs", good).is_empty());
        assert!(check(root, "a.patch", " \n").is_empty());
        assert_eq!(check(root, "a.txt", "no end").len(), 1);
    }

    #[test]
    fn dead_links_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("there.md"), "x\n").unwrap();
        let text = "[a](there.md#x) [b](gone.md) [c](https://x.y) `[d](no.md)` [e](#here)\n";
        let found = check(dir.path(), "index.md", text);
        assert_eq!(found, ["1: the link to gone.md leads nowhere"]);
    }
}
