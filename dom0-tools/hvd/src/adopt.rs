// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking over from a daemon that is gone, whatever it was doing.
//!
//! | the core has it as | record | so |
//! |---|---|---|
//! | anything | without a number | it was being restarted: destroyed, built again |
//! | never started | of a restart | the same |
//! | never started | any other, none | it was being built: destroyed |
//! | dying | any other, none | it was being destroyed: destroyed |
//! | anything else | with its number | adopted; acted upon if it has stopped |
//! | anything else | none | not ours: left alone |
//! | not there | with a number | it ended meanwhile: record removed |
//! | not there | without | it was being restarted: built again |

use crate::console::Ring;
use crate::daemon::{Daemon, Entry};
use crate::devices::{self, supervise};
use crate::lifecycle::{self, Cancel};
use crate::record::{self, Record};
use anyhow::Context;
use hv_abi::domain::{DomainInfo, state};
use hv_abi::{DOM_CONTROL, DomainId};
use hv_client::Calls;
use hv_toolstack::domain;
use std::sync::Arc;

/// See the module.
pub async fn run(daemon: &Arc<Daemon>) -> anyhow::Result<()> {
    let mut records = record::load(&daemon.paths).context("cannot read the domains' records")?;
    let domains = daemon.core.domains().context("cannot list domains")?;
    for info in &domains {
        let id = info.domain as DomainId;
        if id == DOM_CONTROL {
            continue;
        }
        let position = records.iter().position(|r| *r.uuid.as_bytes() == info.uuid);
        let record = position.map(|at| records.swap_remove(at));
        let name = domain::name(info);
        let about = Some((id, &*name));
        let half = info.state & (state::NEW | state::DYING) != 0;
        let restarting = record
            .as_ref()
            .is_some_and(|r| r.id != Some(id) || r.restarts > 0 && info.state & state::NEW != 0);
        if half || restarting {
            let record = record.map(|r| if restarting { Record { id: None, ..r } } else { r });
            if clear(daemon, info, record.as_ref())
                && let Some(record) = record.filter(|_| restarting)
            {
                records.push(record);
            }
        } else if let Some(record) = record {
            adopt(daemon, record, id);
        } else {
            let text = "it runs, but nothing is known about it; left alone";
            daemon.journal.write("adopted", about, text);
        }
    }
    // Backends of domains that are gone, or that will begin with new ones.
    for uuid in devices::domains(daemon) {
        if !daemon.entries().iter().any(|entry| entry.live().record.uuid == uuid) {
            let daemon = daemon.clone();
            tokio::task::spawn_blocking(move || devices::clear(&daemon, uuid)).await?;
        }
    }
    for record in records {
        match record.id {
            Some(id) => {
                record::remove(&daemon.paths, record.uuid);
                let about = Some((id, &*record.spec.name));
                let text = "it ended while no daemon was there";
                daemon.journal.write("destroyed", about, text);
            }
            None => build_again(daemon, record).await,
        }
    }
    lifecycle::reconcile(daemon);
    Ok(())
}

/// Destroys what was half built or half destroyed, and brings its record up to
/// date: one with a number goes, one without says that it is to be built again.
fn clear(daemon: &Arc<Daemon>, info: &DomainInfo, record: Option<&Record>) -> bool {
    let id = info.domain as DomainId;
    let name = domain::name(info);
    let about = Some((id, &*name));
    match record {
        Some(record) if record.id.is_none() => {
            if let Err(e) = record::store(&daemon.paths, record) {
                tracing::warn!("cannot note the restart of `{name}`: {e}");
            }
        }
        Some(record) => record::remove(&daemon.paths, record.uuid),
        None => {}
    }
    // Backends let go of its memory first.
    devices::clear(daemon, uuid::Uuid::from_bytes(info.uuid));
    if let Err(e) = domain::destroy(&*daemon.core, id) {
        daemon.journal.write("failed", about, e.to_string());
        return false;
    }
    let text = "a daemon ended while building or destroying it; it was destroyed";
    daemon.journal.write("leftover", about, text);
    true
}

fn adopt(daemon: &Arc<Daemon>, record: Record, id: DomainId) {
    let (name, port) = (record.spec.name.clone(), record.console_port);
    let about = Some((id, &*name));
    let entry = Entry::new(record);
    if let Err(problem) = daemon.insert(&entry) {
        return daemon.journal.write("failed", about, problem.to_string());
    }
    let serve = || {
        let ring = Ring::open(&*daemon.core, id, port)?;
        let service = ring.serve(entry.hub.clone(), daemon.journal.clone(), id, &name)?;
        anyhow::Ok(service)
    };
    match serve() {
        Ok(service) => entry.live().service = Some(service),
        Err(e) => {
            daemon.journal.write("console", about, format!("its console cannot be reached: {e:#}"))
        }
    }
    let devices = entry.live().record.devices.clone();
    for device in devices {
        let device = supervise::supervise(daemon, &entry, device, None);
        entry.live().devices.push(device);
    }
    daemon.journal.write("adopted", about, "it ran already");
}

async fn build_again(daemon: &Arc<Daemon>, record: Record) {
    let name = record.spec.name.clone();
    let uuid = record.uuid;
    let entry = Entry::new(record);
    let result = async {
        let _work = entry.work.lock().await;
        daemon.insert(&entry)?;
        lifecycle::bring_up(daemon, &entry, false, &Cancel::default()).await
    };
    match result.await {
        Ok(info) => {
            let about = Some((info.domain as u16, &*name));
            let text = "a daemon ended while restarting it; it was built again";
            daemon.journal.write("restarted", about, text);
        }
        Err(problem) => {
            daemon.remove(&entry);
            record::remove(&daemon.paths, uuid);
            let text = format!("`{name}` could not be built again: {problem}");
            daemon.journal.write("failed", None, text);
        }
    }
}
