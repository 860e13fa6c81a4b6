// SPDX-License-Identifier: MIT OR Apache-2.0
//! The patch series, applied so that unchanged files keep their times.
//!
//! Patches are applied to a scratch copy of the few files they name; then
//! only those files of the work tree whose content differs are replaced.
//! make sees exactly the true changes, so objects of an earlier series are
//! reused safely, and a series that does not apply leaves the tree as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::source::Tree;
use crate::key::Key;
use crate::step::{log_file, logged};

/// Remembers in the work tree which files a series has touched.
const TOUCHED: &str = ".hv-touched";

/// A patch: its name and text.
pub struct Patch {
    /// Path of the file.
    pub path: PathBuf,
    text: String,
}

/// The patches in order.
pub struct Series {
    /// The patches in order.
    pub patches: Vec<Patch>,
}

impl Series {
    /// Reads `room/series`; patches are in `room/patches` or in `room`.
    pub fn read(room: &Path) -> Result<Series> {
        let list = room.join("series");
        let text = fs::read_to_string(&list)
            .with_context(|| format!("cannot read the patch series {}", list.display()))?;
        let mut patches = Vec::new();
        for name in text.lines().map(|l| l.split('#').next().unwrap_or("").trim()) {
            if name.is_empty() {
                continue;
            }
            let inner = room.join("patches").join(name);
            let path = if inner.exists() { inner } else { room.join(name) };
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{} names {name}", list.display()))?;
            patches.push(Patch { path, text });
        }
        Ok(Series { patches })
    }

    /// Adds the patches to a key.
    pub fn hash(&self, key: Key) -> Key {
        self.patches.iter().fold(key, |key, p| key.part("patch", p.text.as_bytes()))
    }

    /// Makes `tree.work` equal to `tree.pristine` with the series applied.
    pub fn sync(&self, tree: &Tree) -> Result<()> {
        let mut named = BTreeSet::new();
        for patch in &self.patches {
            named.extend(files(&patch.text));
        }
        let scratch = tempfile::tempdir()?;
        for file in &named {
            let from = tree.pristine.join(file);
            if from.exists() {
                let to = scratch.path().join(file);
                fs::create_dir_all(to.parent().context("a file has a directory")?)?;
                fs::copy(&from, &to)?;
            }
        }
        let log = log_file("patch")?;
        for patch in &self.patches {
            let mut command = Command::new("patch");
            command.args(["-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch"]);
            // The text that was hashed, not what the file has become since.
            let input = tempfile::NamedTempFile::new()?;
            fs::write(input.path(), &patch.text)?;
            command.arg("-d").arg(scratch.path()).arg("-i").arg(input.path());
            logged(&mut command, &log)
                .with_context(|| format!("{} does not apply", patch.path.display()))?;
        }
        let stamp = tree.work.join(TOUCHED);
        let before = fs::read_to_string(&stamp).unwrap_or_default();
        let all: BTreeSet<PathBuf> =
            before.lines().map(PathBuf::from).chain(named.iter().cloned()).collect();
        // First the list, then the files: an interruption loses no name.
        let lines: String = all.iter().map(|f| format!("{}\n", f.display())).collect();
        fs::write(&stamp, lines)?;
        for file in &all {
            let from = if named.contains(file) { scratch.path() } else { &tree.pristine };
            replace(&from.join(file), &tree.work.join(file))?;
        }
        Ok(())
    }
}

/// Makes `to` equal to `from`, by rename, because `to` may be a hard link
/// into the pristine tree; does nothing when it is equal already.
fn replace(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        if to.exists() {
            fs::remove_file(to)?;
        }
        return Ok(());
    }
    let wanted = fs::read(from)?;
    if fs::read(to).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file has a directory")?)?;
    let part = to.with_extension("hv-part");
    fs::write(&part, &wanted)?;
    fs::set_permissions(&part, fs::metadata(from)?.permissions())?;
    fs::rename(&part, to)?;
    Ok(())
}

/// The files that a unified diff names, below the tree.
fn files(text: &str) -> BTreeSet<PathBuf> {
    let mut out = BTreeSet::new();
    for line in text.lines() {
        let named = line.strip_prefix("--- ").or_else(|| line.strip_prefix("+++ "));
        let Some(name) = named.and_then(|n| n.split('\t').next()) else { continue };
        let Some((_, inner)) = name.trim().split_once('/') else { continue };
        let path = PathBuf::from(inner);
        // "/dev/null" becomes "dev/null": the absent side of a new file.
        let inside = path.components().all(|c| matches!(c, Component::Normal(_)));
        if inside && inner != "dev/null" {
            out.insert(path);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_diff_names_its_files_and_none_outside() {
        let text =
            "--- /dev/null\n+++ b/new/x.c\t2024\n--- a/old.c\n+++ b/old.c\n+++ b/../../etc/x\n";
        let got: Vec<_> = files(text).into_iter().collect();
        assert_eq!(got, [PathBuf::from("new/x.c"), PathBuf::from("old.c")]);
    }

    #[test]
    fn sync_changes_only_what_differs_and_undoes_a_dropped_patch() {
        let tmp = tempfile::tempdir().unwrap();
        let tree = Tree { pristine: tmp.path().join("p"), work: tmp.path().join("w") };
        write(&tree.pristine, "a.c", "one\n");
        write(&tree.pristine, "b.c", "two\n");
        fs::create_dir_all(&tree.work).unwrap();
        for name in ["a.c", "b.c"] {
            fs::hard_link(tree.pristine.join(name), tree.work.join(name)).unwrap();
        }
        let room = tmp.path().join("room");
        write(&room, "patches/1.patch", "--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-one\n+ONE\n");
        write(&room, "patches/2.patch", "--- /dev/null\n+++ b/d/n.c\n@@ -0,0 +1 @@\n+new\n");
        write(&room, "series", "1.patch\n2.patch # why\n");
        Series::read(&room).unwrap().sync(&tree).unwrap();
        let work = |n: &str| fs::read_to_string(tree.work.join(n)).ok();
        assert_eq!(work("a.c").as_deref(), Some("ONE\n"));
        assert_eq!(work("d/n.c").as_deref(), Some("new\n"));
        assert_eq!(fs::read_to_string(tree.pristine.join("a.c")).unwrap(), "one\n");
        let time = fs::metadata(tree.work.join("a.c")).unwrap().modified().unwrap();

        write(&room, "series", "1.patch\n");
        Series::read(&room).unwrap().sync(&tree).unwrap();
        assert_eq!(work("d/n.c"), None);
        assert_eq!(fs::metadata(tree.work.join("a.c")).unwrap().modified().unwrap(), time);

        write(&room, "patches/1.patch", "--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-nope\n+ONE\n");
        assert!(Series::read(&room).unwrap().sync(&tree).is_err());
        assert_eq!(work("a.c").as_deref(), Some("ONE\n"));
    }
}
