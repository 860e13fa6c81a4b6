// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the daemon must remember of a domain beyond what the core knows: one
//! file per domain, replaced as a whole, so that a kill leaves the old or the
//! new one.

use crate::devices::DeviceRecord;
use crate::paths::Paths;
use hv_abi::DomainId;
use hv_toolstack::spec::DomainSpec;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::PathBuf;
use uuid::Uuid;

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// `hv/1`.
    pub schema: String,
    /// The domain's.
    pub uuid: Uuid,
    /// Its number, or nothing while it is between two lives: a daemon that
    /// finds this builds it again.
    pub id: Option<DomainId>,
    /// The guest's port of its console.
    pub console_port: u32,
    /// The guest's port that tells it of devices that come and go.
    #[serde(default)]
    pub bus_port: u32,
    /// Its devices.
    #[serde(default)]
    pub devices: Vec<DeviceRecord>,
    /// Devices it ever had.
    #[serde(default)]
    pub incarnations: u32,
    /// Ports of the guest that devices had which are gone.
    #[serde(default)]
    pub spare_ports: Vec<u32>,
    /// When it was made first, in seconds since 1970.
    pub created_unix: u64,
    /// When its present life began.
    pub started_unix: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// What it is made from.
    pub spec: DomainSpec,
}

fn path(paths: &Paths, uuid: Uuid) -> PathBuf {
    paths.domains().join(format!("{uuid}.json"))
}

/// Writes a record.
pub fn store(paths: &Paths, record: &Record) -> io::Result<()> {
    let path = path(paths, record.uuid);
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, record)?;
    file.write_all(b"\n")?;
    std::fs::rename(new, path)
}

/// Removes a record, if there is one.
pub fn remove(paths: &Paths, uuid: Uuid) {
    let path = path(paths, uuid);
    if let Err(e) = std::fs::remove_file(&path)
        && e.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {e}", path.display());
    }
}

/// All records there are. One that cannot be read is reported and moved out of
/// the way, as nothing can be done with it.
pub fn load(paths: &Paths) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(paths.domains())? {
        let path = entry?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => {}
            Some("new") => {
                let _ = std::fs::remove_file(&path);
                continue;
            }
            _ => continue,
        }
        let read = || {
            let text = std::fs::read(&path)?;
            serde_json::from_slice::<Record>(&text).map_err(io::Error::from)
        };
        match read() {
            Ok(record) => records.push(record),
            Err(e) => {
                tracing::warn!("{} is unreadable and set aside: {e}", path.display());
                let _ = std::fs::rename(&path, path.with_extension("broken"));
            }
        }
    }
    Ok(records)
}
