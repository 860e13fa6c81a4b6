// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths about devices of domains.

use super::{Shared, body, document, done};
use crate::daemon::{Daemon, Entry};
use crate::devices::verbs;
use crate::lifecycle;
use crate::network;
use crate::problem::{Answer, Problem};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use hv_toolstack::api::{Disks, Networks, OneDisk, OneNetwork};
use hv_toolstack::domain;
use serde::Deserialize;
use std::sync::Arc;

/// The entry of a domain whose devices can be changed.
fn entry(daemon: &Arc<Daemon>, name: &str) -> Answer<Arc<Entry>> {
    lifecycle::reconcile(daemon);
    let target = daemon.find(name)?.guest("given devices")?;
    target.entry.ok_or_else(|| {
        let name = domain::name(&target.info);
        Problem::new("refused", format!("hvd did not make `{name}` and knows no devices of it"))
    })
}

pub async fn list(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    let target = daemon.find(&name)?;
    let disks = match &target.entry {
        Some(entry) => verbs::all(entry).await,
        None => Vec::new(),
    };
    Ok(document(Disks { disks }))
}

/// Work that is not dropped half-way with the request.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Answer<T>> + Send + 'static,
) -> Answer<T> {
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(e) => Err(Problem::new("failed", format!("the work ended: {e}"))),
    }
}

pub async fn attach(
    State(daemon): Shared,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let spec = body(&bytes)?;
    let entry = entry(&daemon, &name)?;
    let disk = apart(async move {
        let _work = entry.work.lock().await;
        verbs::attach(&daemon, &entry, spec).await
    });
    Ok(document(OneDisk { disk: disk.await? }))
}

pub async fn change(
    State(daemon): Shared,
    Path((name, disk)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<Response> {
    let request = body(&bytes)?;
    let entry = entry(&daemon, &name)?;
    let disk = apart(async move {
        let _work = entry.work.lock().await;
        verbs::change(&daemon, &entry, &disk, request).await
    });
    Ok(document(OneDisk { disk: disk.await? }))
}

#[derive(Deserialize)]
pub struct Detach {
    #[serde(default)]
    force: bool,
}

pub async fn detach(
    State(daemon): Shared,
    Path((name, disk)): Path<(String, String)>,
    Query(how): Query<Detach>,
) -> Answer<Response> {
    let entry = entry(&daemon, &name)?;
    apart(async move {
        let _work = entry.work.lock().await;
        verbs::detach(&daemon, &entry, &disk, how.force).await
    })
    .await?;
    Ok(done())
}

pub async fn networks(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    let target = daemon.find(&name)?;
    let networks = match &target.entry {
        Some(entry) => network::verbs::all(&daemon, entry).await,
        None => Vec::new(),
    };
    Ok(document(Networks { networks }))
}

pub async fn network_attach(
    State(daemon): Shared,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let spec = body(&bytes)?;
    let entry = entry(&daemon, &name)?;
    let network = apart(async move {
        let _work = entry.work.lock().await;
        network::verbs::attach(&daemon, &entry, spec).await
    });
    Ok(document(OneNetwork { network: network.await? }))
}

pub async fn network_change(
    State(daemon): Shared,
    Path((name, card)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<Response> {
    let request = body(&bytes)?;
    let entry = entry(&daemon, &name)?;
    let network = apart(async move {
        let _work = entry.work.lock().await;
        network::verbs::change(&daemon, &entry, &card, request).await
    });
    Ok(document(OneNetwork { network: network.await? }))
}

pub async fn network_detach(
    State(daemon): Shared,
    Path((name, card)): Path<(String, String)>,
    Query(how): Query<Detach>,
) -> Answer<Response> {
    let entry = entry(&daemon, &name)?;
    apart(async move {
        let _work = entry.work.lock().await;
        network::verbs::detach(&daemon, &entry, &card, how.force).await
    })
    .await?;
    Ok(done())
}
