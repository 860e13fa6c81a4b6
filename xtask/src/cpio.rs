// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small writer for Linux initrds: cpio in the "newc" format.
//!
//! The kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`
//! is the specification. Output is deterministic: times and owners are zero,
//! inode numbers count up, entries are sorted by path (so that a directory
//! precedes what is in it).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

/// An archive in the making. Paths are given without a leading slash.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a directory and those above it.
    pub fn dir(&mut self, path: &str) {
        let mut end = 0;
        for part in path.split('/') {
            end += part.len();
            let name = path.get(..end).unwrap_or(path).to_owned();
            self.entries.entry(name).or_insert(Entry {
                mode: DIRECTORY | 0o755,
                device: (0, 0),
                data: Vec::new(),
            });
            end += 1;
        }
    }

    /// Adds a file with these permissions and this content.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.put(path, REGULAR | mode, (0, 0), data.into());
    }

    /// Adds a copy of a file of the host, with these permissions.
    pub fn copy(&mut self, path: &str, mode: u32, from: &Path) -> Result<()> {
        let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, mode, data);
        Ok(())
    }

    /// Adds a symbolic link, unless something is there already.
    pub fn link(&mut self, path: &str, target: &str) {
        if !self.entries.contains_key(path) {
            self.put(path, SYMLINK | 0o777, (0, 0), target.as_bytes().to_vec());
        }
    }

    /// Adds a character device node.
    pub fn node(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(path, CHARACTER | mode, (major, minor), Vec::new());
    }

    fn put(&mut self, path: &str, mode: u32, device: (u32, u32), data: Vec<u8>) {
        if let Some((dir, _)) = path.rsplit_once('/') {
            self.dir(dir);
        }
        self.entries.insert(path.to_owned(), Entry { mode, device, data });
    }

    /// The archive's bytes. A multiple of 512, so that another archive can
    /// be appended.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut inode = 0;
        for (path, entry) in &self.entries {
            inode += 1;
            emit(&mut out, inode, path, entry);
        }
        let end = Entry { mode: 0, device: (0, 0), data: Vec::new() };
        emit(&mut out, 0, "TRAILER!!!", &end);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }
}

fn emit(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let links = if entry.mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let fields = [
        inode,
        entry.mode,
        0,
        0,
        links,
        0,
        entry.data.len() as u32,
        0,
        0,
        entry.device.0,
        entry.device.1,
        path.len() as u32 + 1,
        0,
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&entry.data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_newc() {
        let mut archive = Archive::default();
        archive.file("a/b", 0o644, "hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 512, 0);
        // The directory comes first, then the file 110 + name bytes later.
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..112], b"a\0");
        let file = 112;
        assert_eq!(&bytes[file + 14..file + 22], b"000081a4");
        assert_eq!(&bytes[file + 54..file + 62], b"00000005");
        assert_eq!(&bytes[file + 110..file + 114], b"a/b\0");
        // 110 + 4 is padded to a multiple of four from the archive's start.
        assert_eq!(&bytes[file + 116..file + 121], b"hello");
    }

    #[test]
    fn order_of_adding_does_not_matter() {
        let make = |flip: bool| {
            let mut a = Archive::default();
            let mut names = ["x/1", "y", "x/0"];
            if flip {
                names.reverse();
            }
            for n in names {
                a.file(n, 0o644, n);
            }
            a.finish()
        };
        assert_eq!(make(false), make(true));
    }

    #[test]
    fn the_cpio_program_reads_it() {
        let mut archive = Archive::default();
        archive.file("etc/motd", 0o644, "hi");
        archive.link("bin/sh", "busybox");
        archive.node("dev/console", 0o600, 5, 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), archive.finish()).unwrap();
        let stdin = fs::File::open(file.path()).unwrap();
        let Ok(out) = std::process::Command::new("cpio").arg("-tv").stdin(stdin).output() else {
            return; // no cpio program on this machine
        };
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains("bin/sh -> busybox") && text.contains("etc/motd"), "{text}");
    }
}
