// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build`: the core's ELF and its flat boot image.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::deps::Installer;
use crate::flat;
use crate::place;
use crate::step::{note, shown, step};
use crate::toolchain::{BareMetal, TARGET};

/// Options of `cargo xtask build`.
#[derive(Args, Debug, Clone, Default)]
pub struct BuildArgs {
    /// Build without optimisation
    #[arg(long, conflicts_with = "release")]
    pub debug: bool,
    /// Build with full optimisation (the default)
    #[arg(long)]
    pub release: bool,
}

/// The two forms of a built core.
pub struct Core {
    /// The linked ELF, for symbols.
    pub elf: PathBuf,
    /// The flat image that boots.
    pub flat: PathBuf,
}

/// Builds the core and returns where its files are.
pub fn build(installer: &Installer, args: &BuildArgs) -> Result<Core> {
    let tools = BareMetal::find(installer)?;
    let (profile, label) = if args.debug { ("debug", "debug") } else { ("release", "release") };
    step(&format!("core ({label}, {} Rust)", tools.name), || {
        let mut command = tools.cargo("build");
        command.args(["--quiet", "--package", "hv-image"]);
        if !args.debug {
            command.arg("--release");
        }
        shown(&mut command)
    })?;
    let dir = place::target().join(TARGET).join(profile);
    let core = Core { elf: dir.join("hv-core"), flat: dir.join("hv-core.bin") };
    let data =
        fs::read(&core.elf).with_context(|| format!("cannot read {}", core.elf.display()))?;
    let image = flat::flatten(&data).with_context(|| format!("in {}", core.elf.display()))?;
    fs::write(&core.flat, &image.bytes)?;
    note(&format!(
        "core: {} KiB image, {} KiB in memory at {:#x}",
        image.bytes.len() / 1024,
        image.memory / 1024,
        image.load
    ));
    Ok(core)
}
