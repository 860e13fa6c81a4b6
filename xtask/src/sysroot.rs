// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sysroot for the bare machine, built once from Debian's `rust-web-src`.
//!
//! Debian ships the compiler and the library's source but no prebuilt `core`
//! for `x86_64-unknown-none`. Cargo's build-std makes one in a scratch crate;
//! its rlibs, put where rustc looks for an installed target, serve every
//! later build without any unstable flag. The cache entry is keyed by the
//! compiler's version and commit.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::place;
use crate::step::{log_file, logged, output, step};
use crate::toolchain::{TARGET, clean};

/// The libraries a bare-metal crate links.
const LIBRARIES: &[&str] = &["core", "alloc", "compiler_builtins"];

/// Returns the sysroot for `rustc`, built if it is not in the cache.
pub fn ensure(rustc: &Path, cargo: &Path) -> Result<PathBuf> {
    let verbose = output(clean(rustc).arg("-vV"))?;
    let field = |name: &str| {
        let found = verbose.lines().find_map(|l| l.strip_prefix(name));
        found.map(str::trim).with_context(|| format!("`rustc -vV` has no line {name}"))
    };
    let (release, commit, host) = (field("release:")?, field("commit-hash:")?, field("host:")?);
    let real = PathBuf::from(output(clean(rustc).args(["--print", "sysroot"]))?);

    let name = format!("{release}-{}", commit.get(..12).unwrap_or(commit));
    let dir = place::cache()?.join("sysroot").join(name);
    place::cached(&dir, |dir| {
        step(&format!("core and alloc for {TARGET} (Rust {release}, once)"), || {
            let source = real.join("lib/rustlib/src/rust/library");
            if !source.join("core").exists() {
                bail!("{} is missing: apt-get install rust-web-src", source.display());
            }
            let scratch = tempfile::tempdir()?;
            build(rustc, cargo, scratch.path())?;
            let ours = dir.join("lib/rustlib");
            collect(&scratch.path().join(format!("out/{TARGET}/release/deps")), &ours)?;
            // Host libraries and tools stay the compiler's own.
            symlink(real.join("lib/rustlib").join(host), ours.join(host))?;
            Ok(())
        })
    })?;
    Ok(dir)
}

fn build(rustc: &Path, cargo: &Path, dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("src"))?;
    fs::write(dir.join("src/lib.rs"), "#![no_std]\nextern crate alloc;\n")?;
    fs::write(
        dir.join("Cargo.toml"),
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [profile.release]\npanic = \"abort\"\n[workspace]\n",
    )?;
    let log = log_file("sysroot")?;
    let mut command = clean(cargo);
    command
        .current_dir(dir)
        .env("RUSTC", rustc)
        // build-std is unstable; the bootstrap switch is confined to here.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", dir.join("out"))
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS",
            // Bitcode, or fat LTO of the core fails; frame pointers, so that
            // a backtrace passes through core's functions.
            "-Cembed-bitcode=yes -Cforce-frame-pointers=yes -Crelocation-model=static",
        )
        .args(["build", "--release", "--target", TARGET])
        .args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"]);
    logged(&mut command, &log)
}

/// Copies the rlibs from `deps` to where rustc looks for an installed target.
fn collect(deps: &Path, rustlib: &Path) -> Result<()> {
    let lib = rustlib.join(TARGET).join("lib");
    fs::create_dir_all(&lib)?;
    for library in LIBRARIES {
        let prefix = format!("lib{library}-");
        let found = fs::read_dir(deps)?.flatten().map(|e| e.path()).find(|p| {
            p.extension().is_some_and(|x| x == "rlib")
                && p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix))
        });
        let file = found.with_context(|| format!("the build made no {prefix}*.rlib"))?;
        let name = file.file_name().context("an rlib has a name")?;
        fs::copy(&file, lib.join(name))?;
    }
    Ok(())
}
