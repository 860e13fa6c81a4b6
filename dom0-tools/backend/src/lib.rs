// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the backends of all kinds of devices share: one process serves one
//! device of one guest.
//!
//! ```text
//! let service = Service::open(core, Files::of(&path)?)?;     // while we have rights
//! let device = …;                                            // impl Device
//! confine::confine(&plan)?;                                  // from here on we have none
//! service.run(device)                                        // until it is removed
//! ```
//!
//! - [`files`]: what the daemon tells a backend, and where the two meet.
//! - [`slot`]: the device's page; [`service`]: handshake, control socket, the
//!   loop of the main thread; [`Device`] is what a kind of device adds.
//! - [`ring`]: a queue, on rust-vmm's `virtio-queue`, with [`track`]: requests
//!   in flight, in a file, so that a killed backend loses none.
//! - [`throttle`], [`stats`]: limits and counters.
//! - [`confine`]: giving up user, capabilities, files and system calls.
//!
//! The guest is not trusted: its half of the page and its descriptors are
//! copied once and then looked at (`hv-io`), its memory is never a reference,
//! and a device whose guest breaks the rules is *quarantined*: it is told
//! NEEDS_RESET and not served until it resets the device.
#![forbid(unsafe_code)]

pub mod confine;
pub mod files;
pub mod ring;
pub mod service;
pub mod slot;
pub mod stats;
#[cfg(feature = "testing")]
pub mod testing;
pub mod throttle;
pub mod track;

pub use files::{DeviceFile, Files};
pub use ring::{Chain, Ring};
pub use service::{Command, Device, Offer, Report, Reporter, Service, Started};

/// Why a backend cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A door to the core.
    #[error(transparent)]
    Core(#[from] hv_client::Error),
    /// A file, socket or system call; says which.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What the daemon wrote makes no sense.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// A failure of the system while doing something.
    pub fn system(action: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Error::System { action: action.into(), source: source.into() }
    }
}
