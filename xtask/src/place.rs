// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are: the work tree, cargo's target directory and the cache.
//!
//! Everything that is expensive to make (kernels, sysroots, source trees)
//! lives in the cache, outside the work tree, under a name that contains a
//! hash of what it was made from (`key.rs`). A cache entry is therefore
//! either absent or right, and deleting the cache is always safe.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the work tree.
pub fn root() -> &'static Path {
    // xtask is one directory below the root, at build time and for good.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target directory, as cargo itself would choose it.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cache: `$HV_CACHE`, else `$XDG_CACHE_HOME/hv`, else `~/.cache/hv`.
pub fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = set("HV_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("hv")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/hv")))
        .context("no place for the cache: set HV_CACHE to a directory")?;
    fs::create_dir_all(&dir).with_context(|| {
        format!("cannot make the cache directory {}; set HV_CACHE to another", dir.display())
    })?;
    Ok(dir)
}

/// A directory for logs and run-time files of xtask, below the target dir.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let dir = target().join("hv").join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Makes `dir/done` mark a finished cache entry, with one maker at a time.
///
/// `make` gets an empty directory; when it succeeds the entry counts as
/// complete. Two xtasks that want the same entry wait for each other.
pub fn cached(dir: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp = dir.join("done");
    if stamp.exists() {
        return Ok(());
    }
    let parent = dir.parent().context("a cache entry has a parent")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(dir.with_extension("lock"))?;
    lock.lock().context("cannot lock the cache")?;
    if stamp.exists() {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    make(dir)?;
    fs::write(&stamp, b"")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once_and_a_failed_one_again() {
        let tmp = tempfile::tempdir().unwrap();
        let entry = tmp.path().join("a/b");
        let mut made = 0;
        assert!(cached(&entry, |_| anyhow::bail!("no")).is_err());
        for _ in 0..2 {
            cached(&entry, |d| {
                made += 1;
                fs::write(d.join("x"), b"1")?;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(made, 1);
        assert!(entry.join("x").exists());
    }
}
