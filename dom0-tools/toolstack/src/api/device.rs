// SPDX-License-Identifier: MIT OR Apache-2.0
//! Documents about devices of domains, and requests to change them.

use crate::disk::{DiskSpec, Limits};
use crate::network::NetworkSpec;
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

/// A network card of a domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Network {
    /// Name among the domain's cards.
    pub name: String,
    /// Its device page, if it has one now.
    pub slot: Option<u32>,
    /// As of a disk; a card is never `held`.
    pub state: String,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// The process that serves it.
    pub pid: Option<i32>,
    /// How often that was started again.
    pub restarts: u32,
    /// The tap of the control domain.
    pub tap: String,
    /// Its address on the NAT network.
    pub address: Option<std::net::IpAddr>,
    /// What it was made from.
    pub spec: NetworkSpec,
    /// Counters, or null while nobody serves it.
    pub stats: Value,
}

/// A domain's network cards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Networks {
    /// In the order in which the domain got them.
    pub networks: Vec<Network>,
}

/// One network card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneNetwork {
    /// It.
    pub network: Network,
}

/// Body of a request to change a card; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkChange {
    /// Whether the link is up.
    #[serde(default)]
    pub link: Option<bool>,
    /// Limit of what the guest sends, bytes per second, 0 for none.
    #[serde(default)]
    pub send_rate: Option<u64>,
    /// Limit of what it receives.
    #[serde(default)]
    pub receive_rate: Option<u64>,
}
