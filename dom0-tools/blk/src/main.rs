// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hv-blk DIRECTORY`: started by the daemon for one disk of one guest. The
//! directory is the device's (`hv_backend::files`).
#![forbid(unsafe_code)]

use anyhow::Context;
use hv_backend::Files;
use hv_client::{Doors, Paths};
use std::path::Path;
use std::process::ExitCode;

fn run() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let (Some(dir), None) = (words.next(), words.next()) else {
        anyhow::bail!("usage: hv-blk DIRECTORY (hvd starts it; `hvctl block-attach` makes a disk)");
    };
    let files = Files::read(Path::new(&dir))?;
    let doors = Doors::open(&Paths::default(), files.device.domain)
        .context("the doors to the guest cannot be opened")?;
    hv_blk::serve(&doors, files, true)?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}
