// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beds: the emulated machines the project runs on.
//!
//! A `Machine` says what to boot; `start` turns it into a running emulator.
//! The core's log (COM1) is always a file. The control domain's console
//! (COM2) is the terminal or a file.

pub mod bochs;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::deps::{BOCHS, ISO, Installer, QEMU, UEFI};

/// An emulator and how it gives us hardware virtualization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bed {
    /// QEMU emulating AMD-V
    Tcg,
    /// Bochs emulating VT-x
    Bochs,
    /// QEMU with the machine's own nested virtualization
    Kvm,
    /// QEMU without the core: the control domain's kernel alone
    #[value(hide = true)]
    Bare,
}

impl Bed {
    /// `kvm` where it can work, else `tcg`.
    pub fn automatic() -> Bed {
        let usable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if usable && nested(&cpu) { Bed::Kvm } else { Bed::Tcg }
    }

    /// The name as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Bed::Tcg => "tcg",
            Bed::Bochs => "bochs",
            Bed::Kvm => "kvm",
            Bed::Bare => "bare",
        }
    }
}

/// Whether /proc/cpuinfo shows a vendor's virtualization extension.
fn nested(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|l| l.starts_with("flags"));
    flags.flat_map(str::split_whitespace).any(|f| f == "vmx" || f == "svm")
}

/// A directory of this name in the machine's is offered by TFTP.
pub const TFTP: &str = "tftp";

/// What is loaded into the machine, and how.
pub struct Boot {
    /// The core's flat image.
    pub core: PathBuf,
    /// The core's options.
    pub core_args: String,
    /// The control domain's kernel; a test may leave it out.
    pub kernel: Option<PathBuf>,
    /// The kernel's command line.
    pub kernel_args: String,
    /// The control domain's initrd, if it has one.
    pub initrd: Option<PathBuf>,
    /// Through GRUB from an ISO image, not by QEMU's `-kernel`.
    pub iso: bool,
    /// With UEFI firmware (implies an ISO).
    pub uefi: bool,
}

/// A machine to start.
pub struct Machine {
    /// The emulator.
    pub bed: Bed,
    /// What boots.
    pub boot: Boot,
    /// CPUs.
    pub smp: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// Size of the scratch disk in MiB; none when 0.
    pub disk: u64,
    /// The console on the terminal instead of in a file.
    pub interactive: bool,
    /// QEMU waits for a debugger.
    pub gdb: bool,
    /// CPUs that truly overlap, in the `tcg` bed: for guests that leave the
    /// floating-point state alone.
    pub overlap: bool,
    /// CPU features to take away, by QEMU's names.
    pub cpu_without: Vec<String>,
    /// CPU model of the Bochs bed, by Bochs's names.
    pub cpu: Option<String>,
    /// Where logs, disks and generated files go.
    pub dir: PathBuf,
}

/// A running machine; killed when dropped.
pub struct Running {
    child: Child,
    /// The core's log.
    pub core_log: PathBuf,
    /// The control domain's console, unless interactive.
    pub console_log: PathBuf,
    /// What the emulator itself says.
    pub emulator_log: PathBuf,
}

impl Machine {
    /// Installs what the bed needs.
    pub fn prepare(installer: &Installer, bed: Bed, iso: bool, uefi: bool) -> Result<()> {
        let sets: &[_] = match bed {
            Bed::Bochs => &[&BOCHS, &ISO],
            _ if uefi => &[&QEMU, &ISO, &UEFI],
            _ if iso => &[&QEMU, &ISO],
            _ => &[&QEMU],
        };
        sets.iter().try_for_each(|set| installer.need(set))
    }

    /// Starts the emulator.
    pub fn start(&self) -> Result<Running> {
        let core = Some(&self.boot.core).filter(|_| self.bed != Bed::Bare);
        for file in core.into_iter().chain(&self.boot.kernel).chain(&self.boot.initrd) {
            if !file.exists() {
                bail!("{} is missing", file.display());
            }
        }
        let (core_log, console_log) = (self.dir.join("core.log"), self.dir.join("console.log"));
        for log in [&core_log, &console_log] {
            fs::write(log, b"").with_context(|| format!("cannot write {}", log.display()))?;
        }
        let emulator_log = self.dir.join("emulator.log");
        let mut command = match self.bed {
            Bed::Bochs => bochs::command(self, &core_log, &console_log)?,
            Bed::Tcg | Bed::Kvm | Bed::Bare => qemu::command(self, &core_log, &console_log)?,
        };
        let log = fs::File::create(&emulator_log)?;
        log_command(&command, &self.dir)?;
        if !self.interactive {
            command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?);
        }
        let child = command.stderr(log).spawn().with_context(|| {
            format!("cannot start {}: is it installed?", command.get_program().display())
        })?;
        Ok(Running { child, core_log, console_log, emulator_log })
    }
}

/// An emulator's command, which dies with us however we die.
fn emulator(program: &str) -> Command {
    if !Path::new("/usr/bin/setpriv").exists() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Keeps the emulator's command line next to its logs, to be run by hand.
fn log_command(command: &Command, dir: &Path) -> Result<()> {
    let quote = |s: &std::ffi::OsStr| {
        let s = s.to_string_lossy();
        if s.is_empty() || s.contains(|c: char| c.is_whitespace() || "'\"$;&|<>()".contains(c)) {
            format!("'{}'", s.replace('\'', "'\\''"))
        } else {
            s.into_owned()
        }
    };
    let words: Vec<String> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
    Ok(fs::write(dir.join("command"), words.join(" ") + "\n")?)
}

impl Running {
    /// Whether the emulator has ended.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Asks the emulator to end, so that it gives the terminal back in order.
    pub fn terminate(&mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if asked.is_ok() {
            for _ in 0..20 {
                if self.ended().unwrap_or(true) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        self.kill();
    }

    /// Ends the emulator.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads a memory size such as `2048`, `2G` or `512M`, in MiB.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (digits, unit) = match text.strip_suffix(['G', 'g']) {
        Some(digits) => (digits, 1024),
        None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(n) if (128..=1 << 20).contains(&n) => Ok(n),
        _ => Err("a size like 2G or 1024M, at least 128M".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes() {
        assert_eq!(parse_memory("2G"), Ok(2048));
        assert_eq!(parse_memory("1024"), Ok(1024));
        assert_eq!(parse_memory("512m"), Ok(512));
        for bad in ["", "G", "1", "x2", "99999999999999999G", "-3G"] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nested_virtualization_is_a_whole_flag() {
        assert!(nested("model\t: 1\nflags\t\t: fpu svm nx\n"));
        assert!(!nested("flags\t\t: fpu svm_lock nx\nbugs: vmx\n"));
    }
}
