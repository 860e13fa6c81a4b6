// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Bochs bed: VT-x with EPT, booted from an ISO image.
//!
//! Bochs ends with the same exit code for a power-off and for a triple
//! fault, so nothing is read from it; the serial logs tell.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::{Machine, emulator};
use crate::iso;

/// The CPU models that tests run on; the first is the default. The second
/// lacks what came later: PML, TSC scaling.
pub const MODELS: [&str; 2] = ["corei7_skylake_x", "corei7_haswell_4770"];
/// The machines that tests run on, CPUs and model: each number of CPUs and each
/// model once. `--long` adds the other pairs.
pub const MACHINES: [(u32, &str); 2] = [(1, MODELS[1]), (2, MODELS[0])];

/// The command that starts `machine`.
pub fn command(machine: &Machine, core_log: &Path, console_log: &Path) -> Result<Command> {
    if machine.interactive || machine.gdb || machine.boot.uefi {
        bail!("the bochs bed has no terminal, gdb or UEFI: use it with --exec, or use --bed tcg");
    }
    let image = machine.dir.join("hv.iso");
    // GRUB's multiboot2 loader stops in Bochs 2.7 before it enters the image.
    iso::make(&machine.boot, &image, iso::Loader::Multiboot1)?;
    let rc = machine.dir.join("bochsrc");
    fs::write(&rc, config(machine, &image, core_log, console_log))?;
    let go = machine.dir.join("bochs-go");
    // Debian's Bochs starts in its debugger; `c` lets it run.
    fs::write(&go, "c\n")?;
    let mut c = emulator("bochs");
    c.arg("-q").arg("-f").arg(rc).arg("-rc").arg(go).current_dir(&machine.dir);
    Ok(c)
}

fn config(machine: &Machine, image: &Path, core_log: &Path, console_log: &Path) -> String {
    let lines = [
        "config_interface: textconfig".to_owned(),
        "display_library: rfb, options=\"timeout=0\"".to_owned(),
        "romimage: file=/usr/share/bochs/BIOS-bochs-latest".to_owned(),
        "vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest".to_owned(),
        format!("memory: guest={0}, host={0}", machine.memory),
        format!(
            "cpu: model={}, count={}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1",
            machine.cpu.as_deref().unwrap_or(MODELS[0]),
            machine.smp
        ),
        "clock: sync=none, time0=utc".to_owned(),
        "sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy".to_owned(),
        "speaker: enabled=0".to_owned(),
        format!("ata0-master: type=cdrom, path={}, status=inserted", image.display()),
        "boot: cdrom".to_owned(),
        format!("com1: enabled=1, mode=file, dev={}", core_log.display()),
        format!("com2: enabled=1, mode=file, dev={}", console_log.display()),
        "log: bochs.log".to_owned(),
        "panic: action=fatal".to_owned(),
        "error: action=ignore".to_owned(),
        "info: action=ignore".to_owned(),
    ];
    lines.join("\n") + "\n"
}
