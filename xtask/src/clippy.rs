// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask clippy` and `fmt`: warnings are errors, on the host crates
//! and on the bare-metal crates, each with the tool chain that builds them.

use anyhow::Result;

use crate::deps::Installer;
use crate::step::{shown, step};
use crate::toolchain::{BareMetal, host_cargo};

/// The packages that exist on the bare machine, entry points last.
const BARE_METAL: &[&str] = &["hv-image", "hv-guest", "hv-guests"];

/// Clippy on the bare-metal crates.
pub fn core(installer: &Installer) -> Result<()> {
    let tools = BareMetal::find(installer)?;
    step("clippy (bare metal)", || {
        let mut command = tools.clippy();
        command.arg("--quiet");
        for package in BARE_METAL {
            command.args(["--package", package]);
        }
        shown(command.args(["--", "-D", "warnings"]))
    })
}

/// Clippy on the host crates, tests included.
pub fn host() -> Result<()> {
    step("clippy (host)", || {
        let mut command = host_cargo("clippy");
        shown(command.args(["--quiet", "--all-targets", "--", "-D", "warnings"]))
    })
}

/// rustfmt on the whole workspace.
pub fn fmt(check: bool) -> Result<()> {
    step("rustfmt", || {
        let mut command = host_cargo("fmt");
        // `cargo fmt` takes no --locked.
        let mut plain = std::process::Command::new(command.get_program());
        plain.current_dir(crate::place::root()).args(["fmt", "--all"]);
        command = plain;
        if check {
            command.arg("--check");
        }
        shown(&mut command)
    })
}
