// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong at a door, and whose fault it is: the core refused, the
//! device file failed, or our own offset was wrong.

use hv_abi::{DomainId, Status};
use std::io;
use std::path::Path;

/// A failure at one of the doors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The core answered with another status than `Ok`.
    #[error("{call}{} was refused: {status}", of(*domain))]
    Refused {
        /// Name in the hypercall table.
        call: &'static str,
        /// The domain the call was about.
        domain: Option<DomainId>,
        /// The core's answer.
        status: Status,
    },
    /// A newer core answered with a status these tools do not know.
    #[error("{call} was answered with the unknown status {code}: the core is newer than the tools")]
    UnknownStatus {
        /// Name in the hypercall table.
        call: &'static str,
        /// The code.
        code: u32,
    },
    /// The core's answer contradicts the interface.
    #[error("{call} for domain {domain} made no progress")]
    NoProgress {
        /// Name in the hypercall table.
        call: &'static str,
        /// The domain the call was about.
        domain: DomainId,
    },
    /// A device file or a mapping failed.
    #[error("cannot {action}: {source}")]
    Device {
        /// What was tried, with names.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An access beyond a mapping.
    #[error("{len} bytes at offset {offset:#x} are outside a mapping of {mapped} bytes")]
    OutOfBounds {
        /// First byte wanted.
        offset: usize,
        /// Bytes wanted.
        len: usize,
        /// Bytes there are.
        mapped: usize,
    },
}

impl Error {
    /// The core's answer, if it was the core that refused.
    pub fn status(&self) -> Option<Status> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether a device file is missing: the kernel does not run on the core.
    pub fn is_no_core(&self) -> bool {
        matches!(self, Error::Device { source, .. } if matches!(
            source.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
            Some(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::NXIO)
        ))
    }

    pub(crate) fn device(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Device { action: action.into(), source: source.into() }
    }
}

fn of(domain: Option<DomainId>) -> String {
    domain.map_or_else(String::new, |id| format!(" for domain {id}"))
}

/// Path that appears in messages.
pub(crate) fn open_action(path: &Path) -> String {
    format!("open {}", path.display())
}
