// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hvctl`: the administrator's command.
//!
//! It is thin: it reads domain files, asks the daemon (`hvd`) through its
//! socket, and shows answers as tables or, with `--json`, as they are. Exit
//! codes are [`failure::Exit`]. Rooms: [`args`] is the one table of commands;
//! [`client`] the socket; [`commands`] what each does; [`table`] and [`style`]
//! how it looks.
#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod failure;
mod style;
mod table;

use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let json = args.json;
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new("failed", format!("cannot start: {e}")))
        .and_then(|runtime| {
            let result = runtime.block_on(commands::run(args));
            // A thread may still wait for the terminal; it ends with us.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.show(json);
            failure.exit().into()
        }
    }
}
