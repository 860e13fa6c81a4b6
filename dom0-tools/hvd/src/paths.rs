// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of the daemon, all below one directory.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the directory is unless told otherwise.
pub const RUN_DIR: &str = "/run/hv";

/// How long a daemon that was killed may take to be gone.
const DYING: Duration = Duration::from_secs(3);

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

    /// Directories of devices, by domain.
    pub fn all_devices(&self) -> PathBuf {
        self.dir.join("devices")
    }

    /// Directories of a domain's devices, by slot.
    pub fn devices(&self, domain: uuid::Uuid) -> PathBuf {
        self.all_devices().join(domain.to_string())
    }

    /// Files about networks.
    pub fn networks(&self) -> PathBuf {
        self.dir.join("networks")
    }

    /// Where a detached daemon logs to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("hvd.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.join("hvd.lock")
    }

    /// Process that took the lock last.
    pub fn holder(&self) -> Option<u32> {
        std::fs::read_to_string(self.lock_file()).ok()?.trim().parse().ok()
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
        let path = self.lock_file();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // A daemon that was killed is still there until its mappings are gone.
        let start = Instant::now();
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if start.elapsed() > DYING {
                let pid = self.holder().unwrap_or_default();
                bail!("another hvd (process {pid}) holds {}", path.display());
            }
            std::thread::sleep(Duration::from_millis(10));
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
