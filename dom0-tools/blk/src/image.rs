// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file behind a disk: opened while there are rights, locked against a
//! second writer, with and without the page cache.
//!
//! The lock is `flock`'s and belongs to the open file that direct I/O goes
//! through: requests of a killed backend that the kernel still works on keep the
//! file open, so that getting the lock means that they are over. Requests through
//! the page cache hold it only if there is no direct I/O at all.

use crate::settings::Settings;
use hv_backend::Error;
use hv_io::blk::SECTOR;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a killed predecessor's last requests may take.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Image {
    /// Through the page cache; always there.
    pub plain: Arc<OwnedFd>,
    /// Around the page cache, where the file system can do that.
    pub direct: Option<Arc<OwnedFd>>,
    align: AtomicU32,
    is_device: bool,
}

fn fail(path: &Path, why: &str) -> Error {
    Error::Settings(format!("{}: {why}", path.display()))
}

fn open(path: &Path, read_only: bool, direct: bool) -> Result<OwnedFd, Errno> {
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let how = if direct { OFlags::DIRECT } else { OFlags::empty() };
    rustix::fs::open(path, access | how | OFlags::CLOEXEC, Mode::empty())
}

impl Image {
    /// Opens and locks what the settings name; says what is wrong with it.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let (path, read_only) = (&*settings.path, settings.read_only);
        let plain = open(path, read_only, false).map_err(|e| {
            fail(
                path,
                match e {
                    Errno::NOENT => "there is no such image",
                    Errno::ACCESS | Errno::ROFS | Errno::PERM if !read_only => {
                        "the image cannot be written; say read_only = true to only read it"
                    }
                    Errno::ISDIR => "is a directory, no image",
                    _ => return Error::system(format!("open {}", path.display()), e),
                },
            )
        })?;
        let stat = rustix::fs::fstat(&plain)
            .map_err(|e| Error::system(format!("look at {}", path.display()), e))?;
        let is_device = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            FileType::Directory => return Err(fail(path, "is a directory, no image")),
            _ => return Err(fail(path, "is neither a file nor a block device")),
        };
        // Some file systems know no O_DIRECT.
        let direct = settings.direct.then(|| open(path, read_only, true).ok()).flatten();
        lock(path, direct.as_ref().unwrap_or(&plain), read_only)?;
        let align = match is_device {
            true => rustix::fs::ioctl_blksszget(&plain).unwrap_or(4096),
            false => SECTOR as u32,
        };
        let image = Self {
            plain: Arc::new(plain),
            direct: direct.map(Arc::new),
            align: AtomicU32::new(align),
            is_device,
        };
        let size = image.size().map_err(|e| fail(path, &format!("its size is unknown: {e}")))?;
        if size == 0 {
            return Err(fail(path, "the image is empty"));
        }
        if !size.is_multiple_of(settings.block_size.into()) {
            let (block, why) = (settings.block_size, "no whole number of sectors of");
            return Err(fail(path, &format!("the image has {size} bytes, {why} {block}")));
        }
        if align > settings.block_size {
            let why = format!("the device has sectors of {align} bytes; say block_size = {align}");
            return Err(fail(path, &why));
        }
        Ok(image)
    }

    /// Bytes there are now.
    pub fn size(&self) -> std::io::Result<u64> {
        Ok(rustix::fs::seek(&self.plain, SeekFrom::End(0))?)
    }

    /// Makes a file longer. A block device grows by its own tools.
    pub fn grow(&self, size: u64) -> Result<(), String> {
        if self.is_device {
            return Err("a block device is resized by its own tools; leave the size out".into());
        }
        let now = self.size().map_err(|e| e.to_string())?;
        if size < now {
            return Err(format!("the image has {now} bytes; making it smaller would lose data"));
        }
        rustix::fs::ftruncate(&self.plain, size).map_err(|e| format!("cannot grow it: {e}"))
    }

    /// The file for a transfer: around the page cache if place and length are
    /// aligned enough.
    pub fn file(&self, aligned: u64) -> (&Arc<OwnedFd>, bool) {
        let align = u64::from(self.align.load(Ordering::Relaxed));
        match &self.direct {
            Some(direct) if aligned.is_multiple_of(align) => (direct, true),
            _ => (&self.plain, false),
        }
    }

    /// The file system refused a direct transfer: only whole pages go around the
    /// page cache from now on.
    pub fn refused(&self) {
        self.align.store(4096, Ordering::Relaxed);
    }
}

/// Readers share an image, a writer has it alone.
fn lock(path: &Path, file: impl AsFd, read_only: bool) -> Result<(), Error> {
    let how = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&file, how) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if start.elapsed() < LAST_REQUESTS => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => {
                let why = "the image is in use by another domain or program (it is locked)";
                return Err(fail(path, why));
            }
            Err(e) => return Err(Error::system(format!("lock {}", path.display()), e)),
        }
    }
}
