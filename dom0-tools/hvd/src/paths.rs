// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of the daemon, all below one directory.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the directory is unless told otherwise.
pub const RUN_DIR: &str = "/run/hv";

/// Names below the directory.
#[derive(Clone, Debug)]
pub struct Paths {
    dir: PathBuf,
}

impl Paths {
    /// Names below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("hvd.sock")
    }

    /// Records of domains.
    pub fn domains(&self) -> PathBuf {
        self.dir.join("domains")
    }

    /// Where a detached daemon logs to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("hvd.log")
    }

    /// Makes the directories and takes the lock that one daemon holds; it
    /// vanishes with the process, however that ends.
    pub fn lock(&self) -> anyhow::Result<File> {
        let domains = self.domains();
        std::fs::create_dir_all(&domains)
            .with_context(|| format!("cannot make {}", domains.display()))?;
        // Configurations may hold secrets on command lines.
        std::fs::set_permissions(&domains, Permissions::from_mode(0o700))
            .with_context(|| format!("cannot protect {}", domains.display()))?;
        let path = self.dir.join("hvd.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            bail!("another hvd (process {}) holds {}", pid.trim(), path.display());
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(file)
    }

    /// The socket gives away control of the machine's guests: root's only.
    pub fn open_to_root(&self, socket: &Path) -> anyhow::Result<()> {
        std::fs::set_permissions(socket, Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect {}", socket.display()))
    }
}
