// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds a Rust tool chain that can build for the bare machine.
//!
//! In order: the tool chain that runs xtask, if it has the target installed;
//! the same after `rustup target add`, unless `RUSTUP_AUTO_INSTALL=0` forbids
//! it; Debian's `rustc-web` with a sysroot of our own, built once from
//! `rust-web-src` (`sysroot.rs`). Host programs are always built by the tool
//! chain that runs xtask (`host_cargo`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::deps::{DEBIAN_RUST, Installer};
use crate::step::{note, output, step};
use crate::sysroot;

/// The target of the core and of the micro-guests.
pub const TARGET: &str = "x86_64-unknown-none";

/// Variables of an outer cargo or rustup that would redirect an inner one.
const LEAKS: &[&str] = &[
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "LD_LIBRARY_PATH",
    "CARGO_MANIFEST_DIR",
    "CARGO_PKG_NAME",
    "RUST_RECURSION_COUNT",
];

/// A tool chain for `TARGET`.
#[derive(Debug)]
pub struct BareMetal {
    /// For messages: "rustup" or "Debian".
    pub name: &'static str,
    cargo: PathBuf,
    rustc: PathBuf,
    clippy: PathBuf,
    /// Where core and alloc are, if not in the compiler's own sysroot.
    sysroot: Option<PathBuf>,
}

impl BareMetal {
    /// Finds one, installs what it may, or says what to install.
    pub fn find(installer: &Installer) -> Result<BareMetal> {
        let own = own_bin();
        if let Some(bin) = &own {
            if has_target(&bin.join("rustc")) {
                return Ok(BareMetal::in_dir("rustup", bin));
            }
            if may_add_target() {
                let added = step(&format!("rustup target add {TARGET}"), || add_target(bin));
                match added {
                    Ok(()) if has_target(&bin.join("rustc")) => {
                        return Ok(BareMetal::in_dir("rustup", bin));
                    }
                    Ok(()) => {}
                    Err(e) => note(&format!("rustup did not help ({e:#}); trying Debian's Rust")),
                }
            }
        }
        if let Err(e) = installer.need(&DEBIAN_RUST) {
            bail!(
                "no Rust tool chain here can build for {TARGET}. Either run\n    \
                 rustup target add {TARGET}\nor install Debian's:\n    {e:#}"
            );
        }
        let bin = Path::new("/usr/bin");
        if !bin.join("rustc").exists() {
            bail!("no Rust tool chain here can build for {TARGET}: run rustup target add {TARGET}");
        }
        let mut found = BareMetal::in_dir("Debian", bin);
        if !has_target(&found.rustc) {
            found.sysroot = Some(sysroot::ensure(&found.rustc, &found.cargo)?);
        }
        Ok(found)
    }

    fn in_dir(name: &'static str, bin: &Path) -> BareMetal {
        BareMetal {
            name,
            cargo: bin.join("cargo"),
            rustc: bin.join("rustc"),
            clippy: bin.join("cargo-clippy"),
            sysroot: None,
        }
    }

    /// `cargo SUBCOMMAND --target …`, in the work tree.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = clean(&self.cargo);
        self.prepare(&mut command, subcommand);
        command
    }

    /// `cargo clippy --target …`. Called directly, because `cargo clippy`
    /// takes the first cargo-clippy on the path, perhaps another tool chain's.
    pub fn clippy(&self) -> Command {
        let mut command = clean(&self.clippy);
        command.env("CARGO", &self.cargo);
        self.prepare(&mut command, "clippy");
        command
    }

    fn prepare(&self, command: &mut Command, subcommand: &str) {
        command.current_dir(crate::place::root()).env("RUSTC", &self.rustc);
        if let Some(sysroot) = &self.sysroot {
            // Joined by cargo to the flags in .cargo/config.toml.
            command.env(
                "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS",
                format!("--sysroot={}", sysroot.display()),
            );
        }
        command.args([subcommand, "--locked", "--target", TARGET]);
    }

    /// One line for `doctor`.
    pub fn describe(&self) -> String {
        let version = output(clean(&self.rustc).arg("--version")).unwrap_or_default();
        let from = match &self.sysroot {
            Some(dir) => format!(", sysroot {}", dir.display()),
            None => String::new(),
        };
        format!("{} ({version}{from})", self.name)
    }
}

/// A command without what an outer cargo or rustup left in the environment.
pub fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in LEAKS {
        command.env_remove(name);
    }
    command
}

/// The cargo that runs us, for host programs and host tests.
pub fn host_cargo(subcommand: &str) -> Command {
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(cargo);
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command.current_dir(crate::place::root()).args([subcommand, "--locked"]);
    command
}

/// The directory of the compiler that belongs to the cargo that runs us.
fn own_bin() -> Option<PathBuf> {
    let cargo = PathBuf::from(env::var_os("CARGO")?);
    let bin = cargo.parent()?.to_path_buf();
    bin.join("rustc").exists().then_some(bin)
}

fn has_target(rustc: &Path) -> bool {
    let asked = output(clean(rustc).args(["--print", "target-libdir", "--target", TARGET]));
    let Ok(dir) = asked else { return false };
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|e| e.file_name().to_string_lossy().starts_with("libcore-"))
}

fn may_add_target() -> bool {
    env::var_os("RUSTUP_AUTO_INSTALL").is_none_or(|v| v != "0")
        && env::var_os("RUSTUP_TOOLCHAIN").is_some()
}

fn add_target(bin: &Path) -> Result<()> {
    let mut command = clean(Path::new("rustup"));
    command.args(["target", "add", TARGET]);
    // A tool chain's directory is named after it: …/toolchains/NAME/bin.
    if let Some(name) = bin.parent().and_then(Path::file_name) {
        command.arg("--toolchain").arg(name);
    }
    output(&mut command).map(drop)
}
