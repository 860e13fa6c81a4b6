// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block backend: serves one disk of one guest from a file or a block
//! device, with io_uring right on the guest's memory.
//!
//! - [`settings`]: what the daemon says about the disk.
//! - [`image`]: the file: opening, locking, size.
//! - [`request`]: what the guest's buffers ask for.
//! - [`worker`]: one thread per queue; [`device`]: the whole towards
//!   `hv-backend`.
#![forbid(unsafe_code)]

pub mod device;
pub mod image;
pub mod request;
pub mod settings;
pub mod worker;

use hv_backend::service::End;
use hv_backend::{Error, Files, Service, confine};
use hv_client::Core;

/// Serves a device until it is removed or the daemon wants an end. `confined`:
/// gives up every right in between; without it (in tests) the process stays
/// what it is.
pub fn serve(core: &dyn Core, files: Files, confined: bool) -> Result<End, Error> {
    let settings: settings::Settings = files.device.settings()?;
    let uid = files.device.uid;
    let service = Service::open(core, files)?;
    let image = image::Image::open(&settings)?;
    if confined {
        confine::leave(uid)?;
    }
    let mut disk = device::Disk::new(&service, image, settings)?;
    if confined {
        confine::close(device::SYSTEM_CALLS)?;
    }
    service.run(&mut disk)
}
