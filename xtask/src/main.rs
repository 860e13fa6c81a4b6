// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: builds, boots and tests the whole project.
//!
//! One file per task. This one only reads the command line and calls the
//! task; `step.rs`, `place.rs` and `deps.rs` are what the tasks share.

mod bed;
mod bench;
mod build;
mod bzimage;
mod clippy;
mod cpio;
mod deps;
mod doctor;
mod flat;
mod follow;
mod generate;
mod initrd;
mod iso;
mod kernel;
mod key;
mod lint;
mod place;
mod prepare;
mod run;
mod session;
mod step;
mod symbolize;
mod sysroot;
mod test;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::deps::{ISO, Installer};
use crate::kernel::{KernelArgs, Role};

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
    /// Build tools and initrds and print the initrds' paths
    Initrd,
    /// Boot the core and the control domain
    Run(run::RunArgs),
    /// Write a bootable ISO image (BIOS and UEFI)
    Image(iso::ImageArgs),
    /// Run every test: host, micro-guests, whole systems
    Test(test::TestArgs),
    /// Count what operations cost, in instructions and exits
    Bench(bench::BenchArgs),
    /// Turn addresses of the core into functions and lines
    Symbolize(symbolize::SymbolizeArgs),
    /// Check the project's own rules
    Lint,
    /// Say what this machine has and what is missing
    Doctor,
    /// Write manual pages and the C header from the code's tables
    Generate(generate::GenerateArgs),
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
            for role in [Role::Guest, Role::Control] {
                if args.role.is_none_or(|wanted| wanted == role) {
                    println!("{}", kernel::build(&installer, &args, role)?.bzimage.display());
                }
            }
        }
        Task::Initrd => {
            let guest = kernel::build(&installer, &KernelArgs::default(), Role::Guest)?;
            let initrd = initrd::build(&installer, &guest)?;
            println!("{}\n{}", initrd.guest.display(), initrd.control.display());
        }
        Task::Run(args) => {
            // A command's own exit code 1 must not look like ours.
            return Ok(ExitCode::from(run::run(&installer, &args).unwrap_or_else(|error| {
                eprintln!("hv: error: {error:#}");
                run::NOT_STARTED
            })));
        }
        Task::Image(args) => image(&installer, &args)?,
        Task::Test(args) => {
            if !test::run(&installer, &args)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Task::Bench(args) => {
            if !bench::run(&installer, &args)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Task::Symbolize(args) => symbolize::run(&args)?,
        Task::Lint => lint::run(&installer)?,
        Task::Doctor => {
            if !doctor::run()? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Task::Generate(args) => generate::run(&args)?,
        Task::Fmt { check } => clippy::fmt(check)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn image(installer: &Installer, args: &iso::ImageArgs) -> Result<()> {
    installer.need(&ISO)?;
    let system = prepare::System::make(installer, None)?;
    let dir = prepare::RunDir::new("image")?;
    let mut boot = system.boot(&dir.path, None)?;
    boot.core_args.clone_from(&args.core_args);
    let file = args.output.clone().unwrap_or_else(|| place::target().join("hv.iso"));
    step::step("ISO image", || iso::make(&boot, &file, iso::Loader::Menu(args.menu)))?;
    println!("{}", file.display());
    Ok(())
}
