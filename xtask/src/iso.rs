// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bootable ISO images by grub-mkrescue (BIOS and UEFI), and the task
//! `cargo xtask image`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::bed::Boot;
use crate::step::{log_file, logged};

/// Options of `cargo xtask image`.
#[derive(Args, Debug, Clone)]
pub struct ImageArgs {
    /// Where to write the image [default: hv.iso in the target directory]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Options of the core
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub core_args: String,
    /// Seconds that the menu waits
    #[arg(long, default_value_t = 5)]
    pub menu: u32,
}

/// GRUB's way to load the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// Only an entry for Multiboot 1, started at once.
    Multiboot1,
    /// Only an entry for Multiboot 2, started at once.
    Multiboot2,
    /// A menu of everything, which waits this many seconds.
    Menu(u32),
}

/// Writes an ISO image that boots `boot`.
pub fn make(boot: &Boot, image: &Path, loader: Loader) -> Result<()> {
    let tree = tempfile::tempdir()?;
    let files = tree.path().join("boot/hv");
    fs::create_dir_all(&files)?;
    fs::create_dir_all(tree.path().join("boot/grub"))?;
    let copy = |from: &Path, name: &str| {
        let copied = fs::copy(from, files.join(name));
        copied.with_context(|| format!("cannot copy {}", from.display()))
    };
    copy(&boot.core, "hv-core.bin")?;
    if let Some(kernel) = &boot.kernel {
        copy(kernel, "control-bzImage")?;
    }
    if let Some(initrd) = &boot.initrd {
        copy(initrd, "control-initrd.cpio")?;
    }
    fs::write(tree.path().join("boot/grub/grub.cfg"), menu(boot, loader))?;
    let mut command = Command::new("grub-mkrescue");
    command.arg("-o").arg(image).arg(tree.path());
    logged(&mut command, &log_file("grub-mkrescue")?)
}

fn menu(boot: &Boot, loader: Loader) -> String {
    let core = boot.core_args.trim();
    let kernel = boot.kernel_args.trim();
    let entry = |title: &str, load: &str, module: &str| {
        let mut text = format!("menuentry \"{title}\" {{\n");
        text.push_str(&format!("    {load} /boot/hv/hv-core.bin {core}\n"));
        if boot.kernel.is_some() {
            text.push_str(&format!("    {module} /boot/hv/control-bzImage {kernel}\n"));
        }
        if boot.initrd.is_some() {
            text.push_str(&format!("    {module} /boot/hv/control-initrd.cpio\n"));
        }
        text + "}\n"
    };
    let two = || entry("hv and its control domain", "multiboot2", "module2");
    let one = || entry("hv and its control domain (Multiboot 1)", "multiboot", "module");
    let linux = || {
        let initrd = match boot.initrd {
            Some(_) => "    initrd /boot/hv/control-initrd.cpio\n",
            None => "",
        };
        format!(
            "menuentry \"Linux of the control domain, without hv\" {{\n    \
             linux /boot/hv/control-bzImage {kernel}\n{initrd}}}\n"
        )
    };
    let (timeout, entries) = match loader {
        Loader::Multiboot1 => (0, one()),
        Loader::Multiboot2 => (0, two()),
        Loader::Menu(seconds) => (seconds, two() + &one() + &linux()),
    };
    // The core draws nothing: text mode leaves the screen as GRUB had it.
    format!("set timeout={timeout}\nset default=0\nset gfxpayload=text\n{entries}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_core_kernel_and_initrd() {
        let boot = Boot {
            core: "c".into(),
            core_args: "loglevel=debug".into(),
            kernel: Some("k".into()),
            kernel_args: "console=ttyS1".into(),
            initrd: Some("i".into()),
            iso: true,
            uefi: false,
        };
        let text = menu(&boot, Loader::Multiboot2);
        assert!(text.contains("multiboot2 /boot/hv/hv-core.bin loglevel=debug\n"), "{text}");
        assert!(text.contains("module2 /boot/hv/control-bzImage console=ttyS1\n"));
        assert!(text.contains("module2 /boot/hv/control-initrd.cpio\n"));
        assert_eq!(menu(&boot, Loader::Menu(5)).matches("menuentry").count(), 3);
    }
}
