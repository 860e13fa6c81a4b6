// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask initrd`: the file systems of the guest and of the control
//! domain, from busybox, our scripts (`assets/`) and our tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::deps::{HOST, INITRD, Installer};
use crate::kernel::Kernel;
use crate::place;
use crate::step::{output, shown, step};
use crate::toolchain::host_cargo;

/// Where a built initrd lies.
pub struct Initrd {
    /// The control domain's.
    pub control: PathBuf,
    /// The demo guest's (it is also inside the control domain's).
    pub guest: PathBuf,
}

const BUSYBOX: &str = "/bin/busybox";
const TOOLS: &[&str] = &["hvctl", "hvd", "hv-blk", "hv-net"];

/// Programs of these packages that have not their name.
const MORE: &[&str] = &["hv-nat"];
/// Debian's programs besides what busybox has: `nft` for the daemon, `dmsetup`
/// for disks that break when a test wants them to.
const SYSTEM: &[&str] = &["/usr/sbin/nft", "/usr/sbin/dmsetup"];

/// Builds the tools and both initrds.
pub fn build(installer: &Installer, guest_kernel: &Kernel) -> Result<Initrd> {
    installer.need(&INITRD)?;
    installer.need(&HOST)?;
    let tools = tools()?;
    step("initrds", || {
        let dir = place::scratch("initrd")?;
        let files = Initrd { control: dir.join("control.cpio"), guest: dir.join("guest.cpio") };
        let guest = guest()?;
        write(&files.control, &control(&tools, guest_kernel, &guest)?)?;
        write(&files.guest, &guest)?;
        Ok(files)
    })
}

/// An archive to append to the control domain's: the command line to run.
pub fn exec_segment(command: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file("etc/hv/exec", 0o755, format!("{command}\n"));
    archive.finish()
}

fn tools() -> Result<Vec<PathBuf>> {
    step("tools (hvctl, hvd, backends)", || {
        let mut command = host_cargo("build");
        command.args(["--quiet", "--profile", "tools"]);
        for tool in TOOLS {
            command.args(["--package", tool]);
        }
        shown(&mut command)
    })?;
    let programs = TOOLS.iter().chain(MORE);
    Ok(programs.map(|t| place::target().join("tools").join(t)).collect())
}

/// busybox with a link for every applet, and what both systems share.
fn base(init: &str) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.copy("bin/busybox", 0o755, Path::new(BUSYBOX))?;
    let applets = output(Command::new(BUSYBOX).arg("--list-full"))
        .context("cannot ask busybox for its applets: is busybox-static installed?")?;
    for applet in applets.lines().filter(|a| *a != "busybox" && !a.is_empty()) {
        archive.link(applet, "/bin/busybox");
    }
    for dir in ["proc", "sys", "dev", "tmp", "run", "root", "var/log", "mnt"] {
        archive.dir(dir);
    }
    // The kernel opens /dev/console before anything is mounted.
    archive.node("dev/console", 0o600, 5, 1);
    archive.node("dev/null", 0o666, 1, 3);
    archive.file("etc/passwd", 0o644, "root::0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, "root:x:0:\n");
    archive.file("etc/hosts", 0o644, "127.0.0.1 localhost\n");
    archive.file("etc/inittab", 0o644, include_str!("../assets/inittab"));
    archive.file("etc/profile", 0o644, include_str!("../assets/profile"));
    archive.file("init", 0o755, init);
    Ok(archive)
}

fn guest() -> Result<Vec<u8>> {
    let mut archive = base(include_str!("../assets/guest-init"))?;
    archive.file("etc/udhcpc.sh", 0o755, include_str!("../assets/udhcpc.sh"));
    Ok(archive.finish())
}

fn control(tools: &[PathBuf], guest_kernel: &Kernel, guest_initrd: &[u8]) -> Result<Vec<u8>> {
    let mut archive = base(include_str!("../assets/control-init"))?;
    for tool in tools {
        let name = tool.file_name().context("a tool has a name")?.to_string_lossy();
        archive.copy(&format!("usr/local/bin/{name}"), 0o755, tool)?;
        for library in libraries(tool)? {
            let inside = library.trim_start_matches('/');
            archive.copy(inside, 0o755, Path::new(&library))?;
        }
    }
    for program in SYSTEM {
        archive.copy(program.trim_start_matches('/'), 0o755, Path::new(program))?;
        for library in libraries(Path::new(program))? {
            archive.copy(library.trim_start_matches('/'), 0o755, Path::new(&library))?;
        }
    }
    archive.file("etc/hv/demo.toml", 0o644, include_str!("../assets/demo.toml"));
    archive.copy("boot/hv/guest-bzImage", 0o644, &guest_kernel.bzimage)?;
    archive.file("boot/hv/guest-initrd.cpio", 0o644, guest_initrd);
    Ok(archive.finish())
}

/// The shared libraries of a program, as absolute paths, loader included.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let text = output(Command::new("ldd").arg(program))?;
    Ok(parse_ldd(&text))
}

fn parse_ldd(text: &str) -> Vec<String> {
    // "libc.so.6 => /lib/…/libc.so.6 (0x…)" or "/lib64/ld-linux… (0x…)";
    // the vDSO has neither arrow nor slash.
    let paths = text.lines().filter_map(|line| {
        let path = line.split_once("=> ").map_or(line.trim(), |(_, p)| p);
        path.split_whitespace().next().filter(|p| p.starts_with('/'))
    });
    paths.map(str::to_owned).collect()
}

/// Writes a file unless it holds these bytes already.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|have| have == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(parse_ldd(text), ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn the_command_line_is_a_file_of_its_own_archive() {
        let bytes = exec_segment("echo hi");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("etc/hv/exec") && text.contains("echo hi\n"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
