// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the core tells by virtual interrupts: some domain's state changed, and
//! the log has new text.

use crate::daemon::Daemon;
use crate::lifecycle;
use crate::port::AsyncPort;
use anyhow::Context;
use hv_abi::event::virq;
use hv_client::{Calls, EventPort};
use std::sync::Arc;
use std::time::Duration;

/// How often the core is told the time of day, for its guests.
const CLOCK: Duration = Duration::from_secs(3600);

/// Listens from now on.
pub fn start(daemon: &Arc<Daemon>) -> anyhow::Result<()> {
    let state = EventPort::virq(&*daemon.core, virq::DOMAIN_STATE)
        .context("cannot listen for changes of domains")?;
    spawn(daemon, AsyncPort::new(state)?, lifecycle::reconcile);
    match EventPort::virq(&*daemon.core, virq::LOG) {
        Ok(log) => spawn(daemon, AsyncPort::new(log)?, |d| d.log_news.notify_waiters()),
        // Readers of the log look again now and then anyway.
        Err(e) => tracing::warn!("cannot listen for new text in the core's log: {e}"),
    }
    let daemon = Arc::downgrade(daemon);
    tokio::spawn(async move {
        while let Some(daemon) = daemon.upgrade() {
            let now = crate::journal::unix_ms() * 1_000_000;
            if let Err(e) = daemon.core.wallclock_set(now) {
                // The kernel may keep this call to itself.
                return tracing::debug!("the core was not told the time: {e}");
            }
            drop(daemon);
            tokio::time::sleep(CLOCK).await;
        }
    });
    Ok(())
}

fn spawn(daemon: &Arc<Daemon>, port: AsyncPort, act: fn(&Arc<Daemon>)) {
    let daemon = Arc::downgrade(daemon);
    tokio::spawn(async move {
        loop {
            if let Err(e) = port.event().await {
                return tracing::error!("an event port failed: {e}");
            }
            match daemon.upgrade() {
                Some(daemon) => act(&daemon),
                None => return,
            }
        }
    });
}
