// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: builds, boots and tests the whole project.
//!
//! One file per task. This one only reads the command line and calls the
//! task; `step.rs`, `place.rs` and `deps.rs` are what the tasks share.

mod build;
mod clippy;
mod deps;
mod flat;
mod kernel;
mod key;
mod place;
mod step;
mod sysroot;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::deps::Installer;

/// Builds, boots and tests hv.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
    /// Install missing Debian packages without asking
    #[arg(long, global = true)]
    yes: bool,
    /// Install nothing; only say what is missing
    #[arg(long, global = true)]
    no_install: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Build the core and print the path of its boot image
    Build(build::BuildArgs),
    /// Run clippy on host crates and bare-metal crates, warnings denied
    Clippy,
    /// Run clippy on the bare-metal crates only
    ClippyCore,
    /// Build the Linux kernels of guests and of the control domain
    Kernel(kernel::KernelArgs),
    /// Format the sources, or with --check only compare
    Fmt {
        /// Change nothing; fail if something would change
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hv: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let installer = Installer::new(cli.yes, cli.no_install);
    match cli.task {
        Task::Build(args) => println!("{}", build::build(&installer, &args)?.flat.display()),
        Task::Clippy => {
            clippy::host()?;
            clippy::core(&installer)?;
        }
        Task::ClippyCore => clippy::core(&installer)?,
        Task::Kernel(args) => {
            for role in [kernel::Role::Guest, kernel::Role::Control] {
                if args.role.is_none_or(|wanted| wanted == role) {
                    println!("{}", kernel::build(&installer, &args, role)?.bzimage.display());
                }
            }
        }
        Task::Fmt { check } => clippy::fmt(check)?,
    }
    Ok(ExitCode::SUCCESS)
}
