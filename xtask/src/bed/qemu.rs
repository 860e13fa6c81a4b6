// SPDX-License-Identifier: MIT OR Apache-2.0
//! The QEMU beds: `tcg` (emulated AMD-V), `kvm` (nested), `bare` (no core).

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Bed, Machine, TFTP, emulator};
use crate::iso;

/// UEFI firmware of Debian's `ovmf`.
const OVMF: (&str, &str) = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd");

/// The command that starts `machine`.
pub fn command(machine: &Machine, core_log: &Path, console_log: &Path) -> Result<Command> {
    let mut c = emulator("qemu-system-x86_64");
    c.args(["-machine", "q35", "-nodefaults", "-no-reboot", "-display", "none"]);
    // One thread for all CPUs: with one for each, a CPU that restores its
    // floating-point state spoils another (docs/src/decisions/
    // 0016-one-emulator-thread.md).
    let threads = if machine.overlap { "multi" } else { "single" };
    match machine.bed {
        Bed::Kvm => c.args(["-accel", "kvm", "-cpu"]).arg(host_cpu(&cpuinfo())),
        // MWAIT would keep a CPU from ever looking idle.
        _ => c
            .arg("-accel")
            .arg(format!("tcg,thread={threads}"))
            .arg("-cpu")
            .arg(cpu(&machine.cpu_without)),
    };
    c.arg("-smp").arg(machine.smp.to_string());
    c.arg("-m").arg(machine.memory.to_string());
    boot(machine, &mut c)?;
    c.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    c.arg("-serial").arg(format!("file:{}", core_log.display()));
    if machine.interactive {
        // signal=off: Ctrl-C belongs to the guest. Ctrl-A x ends QEMU.
        c.args(["-chardev", "stdio,id=console,mux=on,signal=off"]);
        c.args(["-serial", "chardev:console", "-mon", "chardev=console"]);
    } else {
        c.arg("-serial").arg(format!("file:{}", console_log.display()));
    }
    if machine.disk > 0 {
        let disk = machine.dir.join("disk.raw");
        File::create(&disk)?.set_len(machine.disk << 20)?;
        let drive = format!("if=none,id=scratch,format=raw,cache=unsafe,file={}", disk.display());
        c.arg("-drive").arg(drive);
        c.args(["-device", "nvme,serial=hv-scratch,drive=scratch"]);
    }
    let mut net = "user,id=net0".to_owned();
    let tftp = machine.dir.join(TFTP);
    if tftp.is_dir() {
        net.push_str(&format!(",tftp={}", tftp.display()));
    }
    c.arg("-netdev").arg(net).args(["-device", "e1000e,netdev=net0,romfile="]);
    if machine.gdb {
        c.args(["-s", "-S"]);
    }
    Ok(c)
}

fn boot(machine: &Machine, c: &mut Command) -> Result<()> {
    let boot = &machine.boot;
    if machine.bed == Bed::Bare {
        c.arg("-kernel").args(&boot.kernel).arg("-append").arg(&boot.kernel_args);
        if let Some(initrd) = &boot.initrd {
            c.arg("-initrd").arg(initrd);
        }
        return Ok(());
    }
    if boot.iso || boot.uefi {
        let image = machine.dir.join("hv.iso");
        iso::make(boot, &image, iso::Loader::Multiboot2)?;
        c.arg("-cdrom").arg(image).args(["-boot", "d"]);
        if boot.uefi {
            let vars = machine.dir.join("vars.fd");
            fs::copy(OVMF.1, &vars).context("cannot copy UEFI variables: is ovmf installed?")?;
            c.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={}", OVMF.0));
            c.arg("-drive").arg(format!("if=pflash,format=raw,file={}", vars.display()));
        }
        return Ok(());
    }
    c.arg("-kernel").arg(&boot.core).arg("-append").arg(&boot.core_args);
    if let Some(kernel) = &boot.kernel {
        let list = modules(kernel, &boot.kernel_args, boot.initrd.as_deref());
        c.arg("-initrd").arg(list);
    }
    Ok(())
}

fn cpuinfo() -> String {
    fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

/// The host's own CPU, with the vendor's extension asked for by name, so that
/// QEMU complains if KVM does not nest.
fn host_cpu(cpuinfo: &str) -> String {
    let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    let mut flags = flags.flat_map(str::split_whitespace);
    match flags.find(|flag| matches!(*flag, "vmx" | "svm")) {
        Some(flag) => format!("host,+{flag}"),
        None => "host".to_owned(),
    }
}

/// QEMU's CPU model: what TCG can do of an AMD server, less `without`.
fn cpu(without: &[String]) -> String {
    let mut model = "EPYC,+svm,+npt,-monitor".to_owned();
    for feature in without {
        model.push_str(",-");
        model.push_str(feature);
    }
    model
}

/// QEMU's module list: "file args,file args", a comma inside doubled.
fn modules(kernel: &Path, args: &str, initrd: Option<&Path>) -> String {
    let escape = |s: &str| s.replace(',', ",,");
    let mut list = escape(&kernel.to_string_lossy());
    if !args.is_empty() {
        list.push(' ');
        list.push_str(&escape(args));
    }
    if let Some(initrd) = initrd {
        list.push(',');
        list.push_str(&escape(&initrd.to_string_lossy()));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_virtualization_is_asked_for_by_name() {
        assert_eq!(host_cpu("processor : 0\nflags : fpu vmx ept\n"), "host,+vmx");
        assert_eq!(host_cpu("flags\t: fpu svm\n"), "host,+svm");
        assert_eq!(host_cpu("flags : fpu\nbugs : svm\n"), "host");
    }

    #[test]
    fn commas_in_arguments_are_doubled() {
        let list = modules(Path::new("/k"), "console=ttyS1,115200 x", Some(Path::new("/i")));
        assert_eq!(list, "/k console=ttyS1,,115200 x,/i");
        assert_eq!(modules(Path::new("/k"), "", None), "/k");
    }
}
