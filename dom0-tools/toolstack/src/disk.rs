// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk of a domain, as its owner wants it: a `[[disk]]` of the domain file.

use crate::spec::check_name;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Disks a domain can have: more than this is a typing error.
pub const DISKS_MAX: usize = 24;
/// Queues a disk can have.
pub const QUEUES_MAX: u32 = 16;
/// Bytes of a serial number.
pub const SERIAL_MAX: usize = 20;

/// How an image is laid out. It is named and never guessed: a guest can write
/// into its disk whatever looks like another format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The disk's bytes, one after another.
    #[default]
    Raw,
}

impl Format {
    /// Each with its word.
    pub const ALL: [(&'static str, Format); 1] = [("raw", Format::Raw)];
}

/// What happens when the host cannot read or write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnIoError {
    /// The guest is told.
    #[default]
    Report,
    /// The domain is paused until somebody has seen to it.
    Pause,
}

impl OnIoError {
    /// Each with its word.
    pub const ALL: [(&'static str, OnIoError); 2] =
        [("report", OnIoError::Report), ("pause", OnIoError::Pause)];
}

/// Limits in one direction; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes per second.
    pub bytes: u64,
    /// Bytes at once after a rest; 0: a tenth of a second's.
    pub bytes_burst: u64,
    /// Operations per second.
    pub ops: u64,
    /// Operations at once after a rest; 0: a tenth of a second's.
    pub ops_burst: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// Unique among the domain's disks.
    #[serde(default)]
    pub name: String,
    /// A file or a block device of the control domain.
    pub path: PathBuf,
    /// Its layout.
    #[serde(default)]
    pub format: Format,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Serial number; the disk's name if empty.
    #[serde(default)]
    pub serial: String,
    /// 512 or 4096.
    #[serde(default = "block_size")]
    pub block_size: u32,
    /// Whether to go around the control domain's page cache where possible.
    #[serde(default = "yes")]
    pub direct: bool,
    /// Whether what the guest discards is given back to the file system.
    #[serde(default = "yes")]
    pub discard: bool,
    /// Queues; 0: one for each vCPU, four at most.
    #[serde(default)]
    pub queues: u32,
    /// On a full or broken disk.
    #[serde(default)]
    pub on_io_error: OnIoError,
    /// Limits of reading.
    #[serde(default)]
    pub read: Limits,
    /// Limits of writing.
    #[serde(default)]
    pub write: Limits,
}

fn block_size() -> u32 {
    512
}

fn yes() -> bool {
    true
}

impl Default for DiskSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: PathBuf::new(),
            format: Format::default(),
            read_only: false,
            serial: String::new(),
            block_size: block_size(),
            direct: true,
            discard: true,
            queues: 0,
            on_io_error: OnIoError::default(),
            read: Limits::default(),
            write: Limits::default(),
        }
    }
}

impl DiskSpec {
    /// Everything that is wrong without looking at the file: key and why.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Err(why) = check_name(&self.name)
            && !self.name.is_empty()
        {
            faults.push(("name", why));
        }
        if self.path.as_os_str().is_empty() {
            faults.push(("path", "the path of the image is empty".into()));
        }
        if self.block_size != 512 && self.block_size != 4096 {
            faults.push(("block_size", "512 and 4096 are possible".into()));
        }
        if self.queues > QUEUES_MAX {
            faults.push(("queues", format!("out of range; up to {QUEUES_MAX} are possible")));
        }
        if self.serial.len() > SERIAL_MAX || !self.serial.is_ascii() {
            faults.push(("serial", format!("at most {SERIAL_MAX} ASCII characters")));
        }
        faults
    }

    /// Queues it gets in a domain with so many vCPUs.
    pub fn queues_for(&self, vcpus: u32) -> u32 {
        match self.queues {
            0 => vcpus.clamp(1, 4),
            queues => queues,
        }
    }

    /// The serial number the guest sees.
    pub fn serial(&self) -> &str {
        let text = if self.serial.is_empty() { &self.name } else { &self.serial };
        &text[..text.len().min(SERIAL_MAX)]
    }
}

/// Gives every disk without a name one: the first of `disk0`, `disk1`, … that
/// is free.
pub fn name_all(disks: &mut [DiskSpec]) {
    for i in 0..disks.len() {
        if disks[i].name.is_empty() {
            let name = free_name(disks);
            disks[i].name = name;
        }
    }
}

/// The first name that no disk has.
pub fn free_name(disks: &[DiskSpec]) -> String {
    let mut number = 0;
    loop {
        let name = format!("disk{number}");
        if disks.iter().all(|disk| disk.name != name) {
            return name;
        }
        number += 1;
    }
}
