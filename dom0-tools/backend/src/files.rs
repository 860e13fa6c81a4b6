// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directory of a device, by which daemon and backend meet:
//!
//! | File | Written by | What |
//! |---|---|---|
//! | `device.json` | daemon | [`DeviceFile`]: which guest, which page, which ports, settings |
//! | `state` | backend | status and requests in flight ([`crate::track`]); outlives a killed backend |
//! | `socket` | backend | control: one JSON object per line each way ([`crate::service`]) |
//! | `log` | backend | its standard error |

use crate::Error;
use hv_abi::DomainId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the daemon tells a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceFile {
    /// `block` or `network`.
    pub kind: String,
    /// The device's name in the domain's file, for messages.
    pub name: String,
    /// The guest.
    pub domain: DomainId,
    /// Guest-physical address of the device's page.
    pub page: u64,
    /// Another number for each device that ever was in this slot.
    pub incarnation: u32,
    /// The guest's memory: address and length of each range.
    pub memory: Vec<(u64, u64)>,
    /// The guest's port for the handshake.
    pub config_port: u32,
    /// The guest's port of each queue; as many as there are queues.
    pub queue_ports: Vec<u32>,
    /// User and group to become; 0: stay who we are.
    pub uid: u32,
    /// What the kind of device wants to know.
    pub settings: serde_json::Value,
}

impl DeviceFile {
    /// The settings as what the kind of device makes of them.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(self.settings.clone())
            .map_err(|e| Error::Settings(format!("settings of {}: {e}", self.name)))
    }
}

/// A device's directory and what its file says.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
    /// The content of `device.json`.
    pub device: DeviceFile,
}

impl Files {
    /// Reads the file in a device's directory.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("device.json");
        let text = std::fs::read(&path)
            .map_err(|e| Error::system(format!("read {}", path.display()), e))?;
        let device = serde_json::from_slice(&text)
            .map_err(|e| Error::Settings(format!("{}: {e}", path.display())))?;
        Ok(Self { dir: dir.into(), device })
    }

    /// Writes the file, as the daemon does; the directory is made.
    pub fn write(dir: &Path, device: &DeviceFile) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let new = dir.join("device.new");
        std::fs::write(&new, serde_json::to_vec_pretty(device)?)?;
        std::fs::rename(new, dir.join("device.json"))
    }

    /// Status and requests in flight.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Control.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }
}
