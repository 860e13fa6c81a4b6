// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon: owns the domains' lifecycles and consoles, and answers on a
//! Unix socket (`hv_toolstack::routes`).
//!
//! The core is the source of truth. What the daemon must know beyond it (a
//! domain's configuration, its console's port) is a small file per domain; a
//! daemon that was killed at any moment comes back, adopts what runs, and
//! removes what was half built ([`adopt`]). Rooms:
//!
//! - [`daemon`]: the domains it knows; [`lifecycle`]: making, ending, restarting
//!   them; [`watch`]: what the core tells.
//! - [`devices`]: the processes that serve disks and networks; [`network`]: taps,
//!   bridges, the NAT network.
//! - [`console`]: rings, log and readers; [`journal`]: what happened.
//! - [`http`]: the socket; [`doctor`]: looking for trouble.
//!
//! It runs on one thread; what blocks for long runs on tokio's blocking pool.
#![forbid(unsafe_code)]

pub mod adopt;
pub mod console;
pub mod daemon;
pub mod devices;
pub mod doctor;
pub mod http;
pub mod journal;
pub mod lifecycle;
pub mod network;
pub mod paths;
pub mod port;
pub mod problem;
pub mod record;
pub mod watch;

use anyhow::Context;
use daemon::Daemon;
use devices::launch::{Launcher, Processes};
use hv_client::Core;
use paths::Paths;
use std::future::Future;
use std::sync::Arc;
use tokio::net::UnixListener;

/// Runs the daemon until `stop` is done. Domains go on running.
pub async fn serve(
    core: Arc<dyn Core>,
    paths: Paths,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    serve_with(core, paths, Arc::new(Processes), stop).await
}

/// The same with another way to start backends.
pub async fn serve_with(
    core: Arc<dyn Core>,
    paths: Paths,
    launcher: Arc<dyn Launcher>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let lock = paths.lock()?;
    let daemon = Daemon::new(core, paths.clone(), launcher);
    watch::start(&daemon)?;
    let nat = tokio::spawn(network::nat::supervise(paths.networks()));
    adopt::run(&daemon).await?;
    doctor::prepare(&daemon)?;
    // A socket file that a killed daemon left: the lock says it is nobody's.
    let socket = paths.socket();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    paths.open_to_root(&socket)?;
    tracing::info!("listening on {}", socket.display());
    let result = tokio::select! {
        result = axum::serve(listener, http::router(daemon.clone())) => result,
        () = stop => Ok(()),
    };
    let _ = std::fs::remove_file(&socket);
    nat.abort();
    daemon.detach_all().await;
    drop(lock);
    tracing::info!("stopped; domains go on running");
    result.context("the socket failed")
}
