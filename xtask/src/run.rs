// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask run`: boots the core and the control domain, to a shell on
//! the terminal or to the end of one command line.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::bed::{Bed, Machine, parse_memory};
use crate::deps::Installer;
use crate::prepare::{RunDir, System};
use crate::session::{self, Outcome};
use crate::step::note;

/// Exit code when the system could not be built or the machine not started.
pub const NOT_STARTED: u8 = 126;

/// Options of `cargo xtask run`.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// CPUs of the machine
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub smp: u32,
    /// Memory of the machine [default: 2G; bochs 1G]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub mem: Option<u64>,
    /// The emulator [default: kvm where it can nest, else tcg]
    #[arg(long)]
    pub bed: Option<Bed>,
    /// CPU model of the bochs bed [default: corei7_skylake_x; `bochs --help
    /// cpu` lists them]
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// Run this command line in the control domain, print its output, return
    /// its exit code (123: core panic, 124: time-out, 125: no boot, 126: not
    /// started)
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Time limit of --exec [default: 300; bochs 1200]
    #[arg(long, value_name = "SECS")]
    pub timeout: Option<u64>,
    /// Options of the core
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    pub core_args: String,
    /// More arguments for the control domain's kernel
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub kernel_args: String,
    /// Scratch disk in MiB (NVMe)
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub disk: u64,
    /// Boot through GRUB from an ISO image
    #[arg(long)]
    pub iso: bool,
    /// Boot by UEFI (and GRUB)
    #[arg(long)]
    pub uefi: bool,
    /// Wait for gdb on port 1234
    #[arg(long)]
    pub gdb: bool,
}

/// Runs the task and returns the exit code.
pub fn run(installer: &Installer, args: &RunArgs) -> Result<u8> {
    let bed = args.bed.unwrap_or_else(Bed::automatic);
    if args.cpu.is_some() && bed != Bed::Bochs {
        bail!("--cpu is for the bochs bed; QEMU's model is part of the others");
    }
    Machine::prepare(installer, bed, args.iso, args.uefi)?;
    let system = System::make(installer, Some(bed))?;
    let dir = RunDir::new(if args.exec.is_some() { "exec" } else { "terminal" })?;
    let mut boot = system.boot(&dir.path, args.exec.as_deref())?;
    boot.core_args.clone_from(&args.core_args);
    boot.kernel_args = format!("{} {}", boot.kernel_args, args.kernel_args).trim().to_owned();
    (boot.iso, boot.uefi) = (args.iso, args.uefi);
    let machine = Machine {
        bed,
        boot,
        smp: args.smp,
        memory: args.mem.unwrap_or(default_memory(bed)),
        disk: args.disk,
        interactive: args.exec.is_none(),
        overlap: false,
        gdb: args.gdb,
        cpu_without: Vec::new(),
        cpu: args.cpu.clone(),
        dir: dir.path.clone(),
    };
    if args.gdb {
        let elf = system.core.as_ref().map(|c| c.elf.display().to_string()).unwrap_or_default();
        note(&format!("waiting for: gdb -ex 'target remote :1234' {elf}"));
    }
    if args.exec.is_none() {
        let log = dir.path.join("core.log");
        note(&format!("{} bed; the core's log: {}", bed.name(), log.display()));
        return session::interactive(&machine);
    }
    exec(&machine, limit(bed, args.timeout))
}

fn exec(machine: &Machine, limit: Duration) -> Result<u8> {
    let report = session::exec(machine, limit, &[], &mut |bytes| {
        let mut out = stdout();
        // A closed pipe is the reader's business, not a failure of the run.
        out.write_all(bytes).and_then(|()| out.flush()).ok();
    })?;
    if !matches!(report.outcome, Outcome::Exit(_)) {
        note(&format!("{}\n{}", report.outcome.describe(), report.tails(30)));
    } else if !report.powered_off {
        note("the control domain did not power off by itself and was ended");
    }
    Ok(report.outcome.code())
}

/// Memory of a machine unless the user says otherwise, in MiB.
pub fn default_memory(bed: Bed) -> u64 {
    if bed == Bed::Bochs { 1024 } else { 2048 }
}

/// The time limit of a command; Bochs is slow.
pub fn limit(bed: Bed, given: Option<u64>) -> Duration {
    Duration::from_secs(given.unwrap_or(if bed == Bed::Bochs { 1200 } else { 300 }))
}
