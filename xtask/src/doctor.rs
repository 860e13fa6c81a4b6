// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask doctor`: what is there, what is missing, what would happen.
//! Changes nothing.

use std::path::Path;

use anyhow::Result;

use crate::bed::Bed;
use crate::deps::{self, Installer};
use crate::kernel::source::Source;
use crate::place;
use crate::toolchain::BareMetal;

/// Prints the report; true if nothing is missing.
pub fn run() -> Result<bool> {
    let mut whole = true;
    let mut say = |good: bool, text: String| {
        println!("{} {text}", if good { "ok     " } else { "missing" });
        whole &= good;
    };
    // A report-only installer: nothing is changed on this machine.
    let tools = BareMetal::find(&Installer::new(false, true));
    match &tools {
        Ok(tools) => say(true, format!("Rust for the bare machine: {}", tools.describe())),
        Err(error) => say(false, format!("Rust for the bare machine: {error:#}")),
    }
    for set in deps::ALL {
        // Debian's Rust is only needed where rustup's has not the target.
        if std::ptr::eq(*set, &deps::DEBIAN_RUST) && tools.is_ok() {
            continue;
        }
        let lacking = deps::missing(set)?;
        if lacking.is_empty() {
            say(true, set.purpose.to_owned());
        } else {
            say(false, format!("{}: apt-get install {}", set.purpose, lacking.join(" ")));
        }
    }
    match Source::find(None) {
        Ok(source) => say(true, format!("Linux source {}", source.version)),
        Err(error) => say(false, format!("Linux source: {error:#}")),
    }
    let cache = place::cache()?;
    println!("info    cache: {} ({} MiB)", cache.display(), size(&cache) >> 20);
    println!("info    bed chosen by `run`: {}", Bed::automatic().name());
    println!("info    target directory: {}", place::target().display());
    Ok(whole)
}

/// Bytes below a directory; hard links count each time.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
