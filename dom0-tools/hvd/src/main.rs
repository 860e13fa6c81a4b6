// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hvd`: the command line of the daemon.
#![forbid(unsafe_code)]

use anyhow::{Context, bail};
use clap::Parser;
use hv_client::{Device, Paths as Devices};
use hvd::paths::{Paths, RUN_DIR};
use std::io::IsTerminal;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

/// Owns the domains of this host: lifecycles, consoles, the API.
///
/// Killed at any moment and started again, it adopts what runs. SIGTERM and
/// SIGINT end it; domains go on running.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Directory of the socket and the records
    #[arg(long, default_value = RUN_DIR, value_name = "DIR")]
    run_dir: std::path::PathBuf,
    /// How much to log: error, warn, info, debug or trace
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: Level,
    /// Go to the background; returns when requests are answered
    #[arg(long)]
    detach: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.detach {
        true => detach(&args),
        false => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hvd: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(args.log)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let core = Device::open(Devices::default()).map_err(|e| match e.is_no_core() {
        true => anyhow::Error::from(e).context(
            "the hypervisor's devices are missing: this kernel does not run as the control \
             domain of hv (boot hv from the boot menu, with a kernel that has CONFIG_HVX_CONTROL)",
        ),
        false => e.into(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // A terminal that closes is no reason to end.
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move { while hangup.recv().await.is_some() {} });
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        hvd::serve(Arc::new(core), Paths::new(&args.run_dir), stop).await
    })
}

/// Starts this program again in the background and waits until it answers.
fn detach(args: &Args) -> anyhow::Result<()> {
    let paths = Paths::new(&args.run_dir);
    std::fs::create_dir_all(paths.dir())
        .with_context(|| format!("cannot make {}", paths.dir().display()))?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(paths.log())
        .with_context(|| format!("cannot open {}", paths.log().display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .arg("--run-dir")
        .arg(paths.dir())
        .args(["--log", args.log.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Out of reach of the terminal's Ctrl-C.
        .process_group(0)
        .spawn()
        .context("cannot start in the background")?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string(paths.log()).unwrap_or_default();
            bail!("it ended at once ({status}): {}", log.lines().last().unwrap_or(""));
        }
        // A predecessor that is just dying may still take connections.
        let ours = paths.holder() == Some(child.id());
        if ours && UnixStream::connect(paths.socket()).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("it does not answer; see {}", paths.log().display())
}
