// SPDX-License-Identifier: MIT OR Apache-2.0
//! Documents about devices of domains, and requests to change them.

use crate::disk::{DiskSpec, Limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A disk of a domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Disk {
    /// Name among the domain's disks.
    pub name: String,
    /// Its device page, if it has one now.
    pub slot: Option<u32>,
    /// `waiting` (for the guest's driver), `connected`, `held` (I/O failed and
    /// waits to be tried again), `quarantined` (the guest broke the rules),
    /// `removing`, `restarting` (its backend died), or empty.
    pub state: String,
    /// Why it is held or quarantined.
    pub reason: Option<String>,
    /// The process that serves it.
    pub pid: Option<i32>,
    /// How often that was started again.
    pub restarts: u32,
    /// What it was made from.
    pub spec: DiskSpec,
    /// Counters, or null while nobody serves it.
    pub stats: Value,
}

/// A domain's disks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disks {
    /// In the order in which the domain got them.
    pub disks: Vec<Disk>,
}

/// One disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneDisk {
    /// It.
    pub disk: Disk,
}

/// Body of a request to change a disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskChange {
    /// Look how large the image is now, and tell the guest.
    #[serde(default)]
    pub resize: bool,
    /// With `resize`: make the image this large first, in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// New limits of reading; as they are when left out.
    #[serde(default)]
    pub read: Option<Limits>,
    /// New limits of writing; as they are when left out.
    #[serde(default)]
    pub write: Option<Limits>,
}
