// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that a boot needs, made in order: core, kernels, initrds.
//! `run`, `image` and `test` start here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bed::{Bed, Boot};
use crate::build::{self, BuildArgs, Core};
use crate::deps::Installer;
use crate::initrd::{self, Initrd};
use crate::kernel::{self, Kernel, KernelArgs, Role};
use crate::place;

/// The parts of a bootable system.
pub struct System {
    /// The core; absent on the bare bed.
    pub core: Option<Core>,
    /// The control domain's kernel.
    pub kernel: Kernel,
    /// Both initrds.
    pub initrd: Initrd,
}

/// Command line of the control domain's kernel. A panic ends the machine
/// (emulators run with `-no-reboot`), so that no test waits for its time-out.
const KERNEL_ARGS: &str = "console=ttyS1,115200 earlyprintk=ttyS1,115200 panic=-1";

impl System {
    /// Builds what is not built.
    pub fn make(installer: &Installer, bed: Option<Bed>) -> Result<System> {
        let core = match bed {
            Some(Bed::Bare) => None,
            _ => Some(build::build(installer, &BuildArgs::default())?),
        };
        let args = KernelArgs::default();
        let guest = kernel::build(installer, &args, Role::Guest)?;
        let kernel = kernel::build(installer, &args, Role::Control)?;
        let initrd = initrd::build(installer, &guest)?;
        Ok(System { core, kernel, initrd })
    }

    /// What to load, with `command` to run if there is one; files go to `dir`.
    pub fn boot(&self, dir: &Path, command: Option<&str>) -> Result<Boot> {
        let initrd = match command {
            None => self.initrd.control.clone(),
            Some(command) => {
                let mut bytes = fs::read(&self.initrd.control)?;
                bytes.extend(initrd::exec_segment(command));
                let path = dir.join("initrd.cpio");
                fs::write(&path, bytes).context("cannot write the initrd")?;
                path
            }
        };
        let core = self.core.as_ref().map(|c| c.flat.clone()).unwrap_or_default();
        Ok(Boot {
            core,
            core_args: String::new(),
            kernel: Some(self.kernel.bzimage.clone()),
            kernel_args: KERNEL_ARGS.to_owned(),
            initrd: Some(initrd),
            iso: false,
            uefi: false,
        })
    }
}

/// A directory for one run; nobody else uses it while the guard lives.
pub struct RunDir {
    /// The directory.
    pub path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// `run/NAME` below the target directory, or `run/NAME-2` … if in use.
    pub fn new(name: &str) -> Result<RunDir> {
        for n in 1.. {
            let label = if n == 1 { name.to_owned() } else { format!("{name}-{n}") };
            let path = place::scratch("run")?.join(label);
            fs::create_dir_all(&path)?;
            let lock = File::create(path.join("lock"))?;
            if lock.try_lock().is_ok() {
                return Ok(RunDir { path, _lock: lock });
            }
        }
        anyhow::bail!("no free run directory")
    }
}
