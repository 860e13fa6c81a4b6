// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask kernel`: the guest's and the control domain's Linux.
//!
//! Source (`source.rs`) → patched work tree (`series.rs`) → configuration
//! (`config.rs`) → bzImage, kept in the cache under a key of everything that
//! goes into it: patches, fragments, source version, compiler. The work tree
//! and the object directories are shared by successive keys, so that a small
//! change to a patch recompiles only what it touches.

mod config;
pub mod series;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::deps::{Installer, KERNEL};
use crate::key::Key;
use crate::place;
use crate::step::{log_file, logged, output, step};

/// What a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// An ordinary guest: no ACPI, no PCI, no legacy devices
    Guest,
    /// The control domain: the machine's real devices as well
    Control,
}

impl Role {
    /// The name used in paths and messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::Guest => "guest",
            Role::Control => "control",
        }
    }

    /// The fragments of `config/` that make up the configuration, in order.
    fn fragments(self) -> &'static [&'static str] {
        match self {
            Role::Guest => &["guest.fragment"],
            Role::Control => &["guest.fragment", "control.fragment"],
        }
    }
}

/// Options of `cargo xtask kernel`.
#[derive(Args, Debug, Clone, Default)]
pub struct KernelArgs {
    /// Build only this one
    #[arg(long)]
    pub role: Option<Role>,
    /// A Linux source tree to patch and build instead of Debian's package
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Take series, patches and config from here
    #[arg(long, value_name = "DIR", hide = true, env = "HV_PATCHES")]
    pub patches: Option<PathBuf>,
}

/// A built kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The boot image.
    pub bzimage: PathBuf,
}

/// Builds the kernel for `role`, or takes it from the cache.
pub fn build(installer: &Installer, args: &KernelArgs, role: Role) -> Result<Kernel> {
    installer.need(&KERNEL)?;
    let room = match &args.patches {
        Some(dir) => dir.clone(),
        None => place::root().join("pv-guest-kernel-patches"),
    };
    let series = series::Series::read(&room)?;
    let fragment = config::join(&room.join("config"), role.fragments())?;
    let source = source::Source::find(args.source.as_deref())?;

    let compiler = output(Command::new("gcc").arg("--version"))?;
    let key = series
        .hash(Key::new("kernel 1"))
        .part("role", role.name().as_bytes())
        .part("fragment", fragment.as_bytes())
        .part("source", source.version.as_bytes())
        .part("compiler", compiler.as_bytes())
        .hex();
    let dir = place::cache()?.join("kernel").join(format!("{}-{key}", role.name()));
    place::cached(&dir, |dir| make(&source, &series, role, &fragment, dir))?;
    Ok(Kernel { bzimage: dir.join("bzImage") })
}

fn make(
    source: &source::Source,
    series: &series::Series,
    role: Role,
    fragment: &str,
    dir: &Path,
) -> Result<()> {
    let area = source.area()?;
    let _lock = source::lock(&area)?;
    let tree = source.work_tree(&area)?;
    step(&format!("linux: {} patches", series.patches.len()), || series.sync(&tree))?;

    let out = area.join(format!("build-{}", role.name()));
    fs::create_dir_all(&out)?;
    let log = log_file(&format!("kernel-{}", role.name()))?;
    let wish = out.join("wish.config");
    fs::write(&wish, fragment)?;
    step(&format!("linux {}: configure", role.name()), || {
        let mut command = kbuild(&tree.work, &out);
        logged(command.env("KCONFIG_ALLCONFIG", &wish).arg("allnoconfig"), &log)?;
        let lost = config::lost(fragment, &fs::read_to_string(out.join(".config"))?);
        if !lost.is_empty() {
            bail!(
                "the {} kernel's configuration did not keep:\n    {}\nEach is unknown to this \
                 source or lacks a dependency: see the fragments in config/",
                role.name(),
                lost.join("\n    ")
            );
        }
        Ok(())
    })?;
    step(&format!("linux {}: compile (log: {})", role.name(), log.display()), || {
        let jobs = available_parallelism().map_or(1, |n| n.get());
        logged(kbuild(&tree.work, &out).arg(format!("-j{jobs}")).arg("bzImage"), &log)
    })?;
    for (from, to) in [
        ("arch/x86/boot/bzImage", "bzImage"),
        ("vmlinux", "vmlinux"),
        ("System.map", "System.map"),
        (".config", "config"),
    ] {
        fs::copy(out.join(from), dir.join(to)).with_context(|| format!("no {from} was built"))?;
    }
    Ok(())
}

/// `make` in the kernel tree, objects elsewhere, nothing in the image that
/// depends on who built it and when.
fn kbuild(tree: &Path, out: &Path) -> Command {
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(tree)
        .arg(format!("O={}", out.display()))
        .args(["ARCH=x86_64", "KBUILD_BUILD_USER=hv", "KBUILD_BUILD_HOST=hv"])
        .args(["KBUILD_BUILD_VERSION=1", "KBUILD_BUILD_TIMESTAMP=Thu Jan 1 00:00:00 UTC 1970"])
        .env("LC_ALL", "C")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    command
}
