// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk of the domain file is to its backend.

use super::Plan;
use hv_blk::settings::{Format, OnError, Settings};
use hv_toolstack::disk::{self, DiskSpec, OnIoError};

fn limits(limits: disk::Limits) -> hv_backend::throttle::Limits {
    hv_backend::throttle::Limits {
        bytes: limits.bytes,
        bytes_burst: limits.bytes_burst,
        ops: limits.ops,
        ops_burst: limits.ops_burst,
    }
}

/// The device of a disk in a domain with so many vCPUs.
pub fn plan(disk: &DiskSpec, vcpus: u32, field: &str) -> Plan {
    let settings = Settings {
        path: disk.path.clone(),
        format: match disk.format {
            disk::Format::Raw => Format::Raw,
        },
        read_only: disk.read_only,
        serial: disk.serial().into(),
        block_size: disk.block_size,
        direct: disk.direct,
        discard: disk.discard,
        on_io_error: match disk.on_io_error {
            OnIoError::Report => OnError::Report,
            OnIoError::Pause => OnError::Pause,
        },
        read: limits(disk.read),
        write: limits(disk.write),
    };
    Plan {
        kind: "block",
        name: disk.name.clone(),
        queues: disk.queues_for(vcpus),
        // Plain values always serialise.
        settings: serde_json::to_value(settings).unwrap_or_default(),
        field: field.into(),
    }
}
