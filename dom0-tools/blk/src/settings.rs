// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the daemon says about a disk.

use hv_backend::throttle::Limits;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How the image is laid out. It is named, never guessed: a guest can write
/// into its disk whatever looks like another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The disk's bytes, one after another.
    Raw,
}

/// What to do when the host cannot read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Tell the guest.
    Report,
    /// Hold requests back until somebody has seen to it.
    Pause,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A file or a block device.
    pub path: PathBuf,
    /// Its layout.
    pub format: Format,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// What the guest sees as the serial number; at most 20 bytes count.
    pub serial: String,
    /// 512 or 4096.
    pub block_size: u32,
    /// Whether to go around the host's page cache where possible.
    pub direct: bool,
    /// Whether discards give space back.
    pub discard: bool,
    /// On a full disk or a broken one.
    pub on_io_error: OnError,
    /// Limits of what the guest reads.
    pub read: Limits,
    /// Limits of what the guest writes.
    pub write: Limits,
}
