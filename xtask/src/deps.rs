// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages: which step needs which, and how they get installed.
//!
//! `Installer::need(step, packages)` is the only door. It asks before it
//! installs, unless told `--yes`, run by CI, or run without a terminal;
//! `--no-install` turns it into a report.

use std::env;
use std::io::{IsTerminal, Write, stderr, stdin};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{self, log_file, logged, note};

/// A named set of packages that some step cannot do without.
pub struct Set {
    /// What the packages are for, in the user's words.
    pub purpose: &'static str,
    /// Debian package names.
    pub packages: &'static [&'static str],
}

/// Building the core without rustup: see `toolchain.rs`.
pub const DEBIAN_RUST: Set = Set {
    purpose: "building the core with Debian's Rust",
    packages: &[
        "rustc-web",
        "cargo-web",
        "rust-web-src",
        "rust-web-llvm",
        "lld-22",
        "rust-web-clippy",
        "rustfmt-web",
    ],
};
/// Linking host programs.
pub const HOST: Set =
    Set { purpose: "building the host tools", packages: &["gcc", "libc6-dev", "libc-bin"] };
/// Building the two Linux kernels.
pub const KERNEL: Set = Set {
    purpose: "building the Linux kernels",
    packages: &[
        "linux-source-6.12",
        "build-essential",
        "bc",
        "bison",
        "flex",
        "libelf-dev",
        "libssl-dev",
        "xz-utils",
        "lz4",
        "patch",
        "kmod",
        "cpio",
        "perl",
        "python3",
    ],
};
/// The initrds' user space.
pub const INITRD: Set = Set {
    purpose: "making the initrds",
    packages: &["busybox-static", "libc-bin", "nftables", "dmsetup"],
};
/// The QEMU beds.
pub const QEMU: Set = Set { purpose: "running in QEMU", packages: &["qemu-system-x86", "seabios"] };
/// Booting by UEFI.
pub const UEFI: Set = Set { purpose: "booting by UEFI", packages: &["ovmf"] };
/// Making bootable ISO images.
pub const ISO: Set = Set {
    purpose: "making ISO images",
    packages: &["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"],
};
/// The Bochs bed.
pub const BOCHS: Set =
    Set { purpose: "running in Bochs", packages: &["bochs", "bochsbios", "vgabios", "bochs-term"] };

/// Every set there is, for `cargo xtask doctor`.
pub const ALL: &[&Set] = &[&DEBIAN_RUST, &HOST, &KERNEL, &INITRD, &QEMU, &UEFI, &ISO, &BOCHS];

/// What to do about a missing package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Ask,
    Install,
    Report,
}

/// The way packages get onto this machine.
#[derive(Clone, Copy, Debug)]
pub struct Installer {
    mode: Mode,
}

impl Installer {
    /// `yes`: never ask. `no_install`: never install.
    pub fn new(yes: bool, no_install: bool) -> Installer {
        let unattended = yes || env::var_os("CI").is_some() || !stdin().is_terminal();
        let mode = match (no_install, unattended) {
            (true, _) => Mode::Report,
            (false, true) => Mode::Install,
            (false, false) => Mode::Ask,
        };
        Installer { mode }
    }

    /// Makes sure that the packages of `set` are there.
    pub fn need(&self, set: &Set) -> Result<()> {
        let lacking = missing(set)?;
        if lacking.is_empty() {
            return Ok(());
        }
        let list = lacking.join(" ");
        match self.mode {
            Mode::Report => bail!(
                "{} needs Debian packages that are not installed: {list}\n\
                 Install them with: {}apt-get install --no-install-recommends {list}",
                set.purpose,
                if is_root() { "" } else { "sudo " }
            ),
            Mode::Ask if !ask(&format!("{} needs: {list}. Install?", set.purpose))? => {
                bail!("{} cannot go on without: {list}", set.purpose)
            }
            Mode::Ask | Mode::Install => {
                note(&format!("{}: installing {list}", set.purpose));
                step::step("apt-get install", || install(&lacking))
            }
        }
    }
}

/// Those packages of `set` that are not installed.
pub fn missing(set: &Set) -> Result<Vec<&'static str>> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        // Not Debian: nothing to ask and nothing to install with. The step
        // itself will name the program it does not find.
        return Ok(Vec::new());
    }
    let out = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\n"])
        .args(set.packages)
        .output()
        .context("cannot run dpkg-query")?;
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(not_installed(&text, set.packages))
}

/// Reads dpkg-query's answer: the packages that are not `installed` in it.
fn not_installed(answer: &str, wanted: &[&'static str]) -> Vec<&'static str> {
    let there = |name: &str| answer.lines().any(|l| l.split_once(' ') == Some(("installed", name)));
    wanted.iter().copied().filter(|p| !there(p)).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    let log = log_file("apt")?;
    // Lists are refreshed only when they do not know a package, or when what
    // they know has gone from the mirror.
    let known = |p: &&str| {
        let out = Command::new("apt-cache").args(["--no-all-versions", "show", p]).output();
        out.is_ok_and(|o| o.status.success())
    };
    let mut fresh = false;
    if !packages.iter().all(known) {
        logged(apt().arg("update"), &log)?;
        fresh = true;
    }
    let command = || {
        let mut c = apt();
        c.args(["install", "-y", "--no-install-recommends"]).args(packages);
        c
    };
    match logged(&mut command(), &log) {
        Err(_) if !fresh => {
            logged(apt().arg("update"), &log)?;
            logged(&mut command(), &log)
        }
        result => result,
    }
}

fn apt() -> Command {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut c = Command::new("sudo");
        c.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        c
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    // The owner of our own process directory is us; no unsafe geteuid needed.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn ask(question: &str) -> Result<bool> {
    eprint!("hv: {question} [Y/n] ");
    stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_answers_are_read() {
        let answer = "installed gcc\nconfig-files bc\n";
        assert_eq!(not_installed(answer, &["gcc", "bc", "flex"]), ["bc", "flex"]);
    }

    #[test]
    fn no_install_wins_over_yes() {
        assert_eq!(Installer::new(true, true).mode, Mode::Report);
        assert_eq!(Installer::new(true, false).mode, Mode::Install);
    }
}
