// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux source: Debian's package or a tree of the user's, and the work tree.
//!
//! An area of the cache holds `pristine/` (never written after unpacking) and
//! `work/`, hard-linked from it, in which `series.rs` replaces patched files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};

use crate::key::Key;
use crate::place;
use crate::step::{log_file, logged, output, step};

/// The Debian package whose source we patch.
const PACKAGE: &str = "linux-source-6.12";
const TARBALL: &str = "/usr/src/linux-source-6.12.tar.xz";

/// Where the source comes from.
pub struct Source {
    /// The package's version, or a fingerprint of the user's tree.
    pub version: String,
    /// The user's tree, if not Debian's package.
    tree: Option<PathBuf>,
}

/// The two trees of an area.
pub struct Tree {
    /// As unpacked.
    pub pristine: PathBuf,
    /// As patched and built.
    pub work: PathBuf,
}

impl Source {
    /// Debian's package, or `dir`.
    pub fn find(dir: Option<&Path>) -> Result<Source> {
        if let Some(dir) = dir {
            let dir = dir.canonicalize().with_context(|| format!("no tree {}", dir.display()))?;
            if !dir.join("Kbuild").exists() || !dir.join("arch/x86").exists() {
                bail!("{} is not a Linux source tree", dir.display());
            }
            let mut listing = Vec::new();
            list(&dir, &mut listing)?;
            let key = Key::new("tree").part("listing", listing.concat().as_bytes()).hex();
            return Ok(Source { version: format!("tree-{key}"), tree: Some(dir) });
        }
        if !Path::new(TARBALL).exists() {
            bail!("{TARBALL} is missing: apt-get install {PACKAGE}, or give --source DIR");
        }
        let version = output(Command::new("dpkg-query").args(["-W", "-f=${Version}", PACKAGE]))
            .with_context(|| format!("cannot tell the version of {PACKAGE}"))?;
        Ok(Source { version, tree: None })
    }

    /// A directory name for this source's area.
    fn area_name(&self) -> String {
        self.version.replace(['/', ':', '~', '+'], "_")
    }

    /// The two trees, for who only reads them.
    pub fn unpacked(&self) -> Result<Tree> {
        let area = self.area()?;
        // A tree that is there is complete: no need to wait for a build.
        let there = Tree { pristine: area.join("pristine"), work: area.join("work") };
        if there.pristine.exists() && there.work.exists() {
            return Ok(there);
        }
        let _lock = lock(&area)?;
        self.work_tree(&area)
    }

    /// The directory of the cache that holds this source's trees.
    pub fn area(&self) -> Result<PathBuf> {
        let area = place::cache()?.join("linux").join(self.area_name());
        fs::create_dir_all(&area)?;
        Ok(area)
    }

    /// Unpacks or copies the source into `area`, once.
    pub fn work_tree(&self, area: &Path) -> Result<Tree> {
        let tree = Tree { pristine: area.join("pristine"), work: area.join("work") };
        if !tree.pristine.exists() {
            let part = area.join("pristine.part");
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            let log = log_file("linux-source")?;
            step(&format!("linux: unpack {}", self.version), || match &self.tree {
                None => {
                    fs::create_dir_all(&part)?;
                    let mut tar = Command::new("tar");
                    tar.args(["-xJf", TARBALL, "--strip-components=1", "-C"]).arg(&part);
                    logged(&mut tar, &log)
                }
                Some(dir) => logged(Command::new("cp").arg("-a").arg(dir).arg(&part), &log),
            })?;
            fs::rename(&part, &tree.pristine)?;
        }
        if !tree.work.exists() {
            let part = area.join("work.part");
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            let log = log_file("linux-work")?;
            logged(Command::new("cp").arg("-al").arg(&tree.pristine).arg(&part), &log)?;
            fs::rename(&part, &tree.work)?;
        }
        Ok(tree)
    }
}

/// One at a time in an area: both roles and all checkouts share it.
pub fn lock(area: &Path) -> Result<File> {
    let lock = File::create(area.join("lock"))?;
    lock.lock().context("cannot lock the kernel work area")?;
    Ok(lock)
}

/// Every file's path, size and time: a cheap fingerprint of a user's tree.
fn list(dir: &Path, out: &mut Vec<String>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let meta = entry.metadata()?;
        if meta.is_dir() {
            if entry.file_name() != ".git" {
                list(&entry.path(), out)?;
            }
            continue;
        }
        let time = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        out.push(format!("{} {} {time}\n", entry.path().display(), meta.len()));
    }
    Ok(())
}
