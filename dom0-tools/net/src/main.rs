// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hv-net DIRECTORY`: serves the network card whose directory the daemon made.

#![forbid(unsafe_code)]

use hv_backend::service::End;
use hv_backend::{Error, Files, Service, confine};
use hv_client::tap::{self, Tap};
use hv_client::{Doors, Paths};
use hv_net::control::Active;
use hv_net::device::Net;
use hv_net::header::LEN;
use hv_net::settings::Settings;
use std::path::PathBuf;
use std::process::ExitCode;

/// System calls for packets, besides what every backend makes.
const CALLS: [libc::c_long; 2] = [libc::SYS_readv, libc::SYS_writev];

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [directory] = &arguments[..] else {
        eprintln!("usage: hv-net DIRECTORY; hvd starts it for a domain's network card");
        return ExitCode::from(2);
    };
    match serve(directory) {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(directory: &std::path::Path) -> Result<End, Error> {
    let files = Files::read(directory)?;
    let settings: Settings = files.device.settings()?;
    settings.check().map_err(Error::Settings)?;
    let wanted = settings.queues();
    let ports = files.device.queue_ports.len();
    if ports != wanted {
        return Err(Error::Settings(format!("{ports} ports for {wanted} queues")));
    }
    let uid = files.device.uid;
    let doors = Doors::open(&Paths::default(), files.device.domain)?;
    let taps = (0..settings.pairs)
        .map(|_| Ok(Tap::open(&settings.tap, LEN as i32)?))
        .collect::<Result<Vec<_>, Error>>()?;
    let active = Active::open(&directory.join("active"))?;
    let service = Service::open(&doors, files)?;
    confine::leave(uid)?;
    let mut net = Net::new(settings, taps, active, service.reporter())?;
    confine::close_but(&CALLS, &tap::IOCTLS)?;
    service.run(&mut net)
}
