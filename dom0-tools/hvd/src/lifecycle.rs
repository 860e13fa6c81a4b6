// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making, ending and restarting domains.
//!
//! Order of a birth: build (undone by its guard), console, record, unpause; each
//! failure drops what came before. Order of a death: console (with what is left
//! in it), domain, record, entry. So at every moment either the record or the
//! core tells a later daemon what to do ([`crate::adopt`]).

use crate::console::Ring;
use crate::daemon::{Daemon, Entry, Target};
use crate::devices::{self, Home, supervise, verbs};
use crate::journal::unix_ms;
use crate::network;
use crate::problem::{Answer, Problem};
use crate::record::{self, Record};
use hv_abi::DomainId;
use hv_abi::domain::{DomainInfo, reason, state};
use hv_client::Calls;
use hv_toolstack::api::{CreateRequest, Domain, SCHEMA};
use hv_toolstack::builder::{BuildError, Step, build};
use hv_toolstack::domain;
use hv_toolstack::spec::Action;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// A life shorter than this is short.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// After so many short lives in a row a domain is not started again.
const SHORT_LIVES: u32 = 5;

/// Tells work on another thread to end.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the work.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn keep_on(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Runs `work` on a thread that may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    match spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(e) => Err(Problem::new("failed", format!("a worker thread ended: {e}"))),
    }
}

/// Makes a domain and starts it.
pub async fn create(
    daemon: Arc<Daemon>,
    mut request: CreateRequest,
    cancel: Cancel,
) -> Answer<Domain> {
    hv_toolstack::disk::name_all(&mut request.spec.disks);
    let entry = Entry::new(Record {
        schema: SCHEMA.into(),
        uuid: Uuid::new_v4(),
        id: None,
        console_port: 0,
        bus_port: 0,
        devices: Vec::new(),
        incarnations: 0,
        spare_ports: Vec::new(),
        created_unix: unix_ms() / 1000,
        started_unix: 0,
        restarts: 0,
        spec: request.spec,
    });
    let _work = entry.work.lock().await;
    daemon.insert(&entry)?;
    network::complete(&daemon, &entry).inspect_err(|_| daemon.remove(&entry))?;
    match bring_up(&daemon, &entry, request.paused, &cancel).await {
        Ok(info) => {
            let name = entry.name();
            let about = Some((info.domain as u16, &*name));
            daemon.journal.write("created", about, "it was built and started");
            Ok(daemon.describe(&info, true))
        }
        Err(problem) => {
            daemon.remove(&entry);
            tracing::warn!("creating `{}` failed: {problem}", entry.name());
            Err(problem)
        }
    }
}

/// Builds and starts an entry's domain. The caller holds `work`.
pub async fn bring_up(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    paused: bool,
    cancel: &Cancel,
) -> Answer<DomainInfo> {
    let record = entry.live().record.clone();
    let name = record.spec.name.clone();
    let (core, paths) = (daemon.core.clone(), daemon.paths.clone());
    let its_daemon = daemon.clone();
    let cancel = cancel.clone();
    let (record, ring, begun, info) = blocking(move || {
        let keep_on = || cancel.keep_on();
        let mut record = record;
        let uuid = record.uuid;
        let built = build(&*core, &record.spec, *uuid.as_bytes(), &keep_on)?;
        let no = |e| Problem::from(BuildError::core(Step::Start, e));
        let ring = Ring::open(&*core, built.id(), built.ports.console).map_err(no)?;
        record.id = Some(built.id());
        record.console_port = built.ports.console;
        record.bus_port = built.ports.bus;
        let memory = record.spec.memory;
        let home = Home { domain: built.id(), uuid, memory };
        let plans = devices::plans(&record.spec);
        let begun = verbs::begin_all(&its_daemon, &home, &plans, &mut record.incarnations)?;
        record.devices = begun.iter().map(|device| device.record.clone()).collect();
        record.spare_ports.clear();
        record.started_unix = unix_ms() / 1000;
        record::store(&paths, &record).map_err(|e| {
            let message = format!("cannot write the domain's record: {e}");
            Problem::new("failed", message).hint("is the file system of /run full?")
        })?;
        let start = || {
            // One more pause, so that taking the builder's back leaves one.
            if paused {
                core.domain_pause(built.id())?;
            }
            core.domain_unpause(built.id())?;
            core.domain_info(built.id())
        };
        let info = match start() {
            Ok(Some(info)) if info.domain == u32::from(built.id()) => Ok(info),
            Ok(_) => Err(Problem::new("failed", "the domain vanished as it was started")),
            Err(e) => Err(no(e)),
        };
        // A failed restart ends the entry, so there is no older record to keep.
        let info = info.inspect_err(|_| record::remove(&paths, uuid))?;
        built.release();
        let begun: Vec<_> = begun.into_iter().map(devices::Begun::release).collect();
        Ok((record, ring, begun, info))
    })
    .await?;
    let id = info.domain as DomainId;
    let service = ring.serve(entry.hub.clone(), daemon.journal.clone(), id, &name);
    let mut live = entry.live();
    live.record = record;
    live.started = Instant::now();
    live.stop_seen = false;
    match service {
        Ok(service) => live.service = Some(service),
        Err(e) => tracing::warn!("`{name}` has no console: {e}"),
    }
    drop(live);
    for (device, running) in begun {
        let device = supervise::supervise(daemon, entry, device, running);
        entry.live().devices.push(device);
    }
    Ok(info)
}

/// Ends a domain for good.
pub async fn destroy(daemon: &Arc<Daemon>, target: Target) -> Answer<()> {
    let target = target.guest("destroyed")?;
    let Some(entry) = target.entry else {
        return destroy_in_core(daemon, target.info.domain as DomainId).await;
    };
    // Waits for a birth or a restart to be over, and takes what came of it.
    let _work = entry.work.lock().await;
    if daemon.knows(&entry) {
        let (id, name) = (entry.id(), entry.name());
        end(daemon, &entry).await?;
        let about = id.map(|id| (id, &*name));
        daemon.journal.write("destroyed", about, "it was destroyed on request");
    }
    Ok(())
}

async fn destroy_in_core(daemon: &Arc<Daemon>, id: DomainId) -> Answer<()> {
    let core = daemon.core.clone();
    blocking(move || Ok(domain::destroy(&*core, id)?)).await
}

/// Ends a domain's devices; their backends let go of its memory.
async fn end_devices(daemon: &Arc<Daemon>, entry: &Arc<Entry>) -> Answer<()> {
    let (devices, uuid) = {
        let mut live = entry.live();
        live.record.devices.clear();
        (std::mem::take(&mut live.devices), live.record.uuid)
    };
    let daemon = daemon.clone();
    blocking(move || {
        devices.into_iter().for_each(supervise::Device::end);
        devices::clear(&daemon, uuid);
        Ok(())
    })
    .await
}

/// Ends an entry's domain and the entry. The caller holds `work`.
async fn end(daemon: &Arc<Daemon>, entry: &Arc<Entry>) -> Answer<()> {
    entry.detach().await;
    end_devices(daemon, entry).await?;
    if let Some(id) = entry.id() {
        destroy_in_core(daemon, id).await?;
    }
    let uuid = entry.live().record.uuid;
    record::remove(&daemon.paths, uuid);
    daemon.remove(entry);
    Ok(())
}

/// Looks at every domain the daemon is responsible for, and acts upon those
/// that have stopped or vanished.
pub fn reconcile(daemon: &Arc<Daemon>) {
    for entry in daemon.entries() {
        let Some(id) = entry.id() else { continue };
        let uuid = *entry.live().record.uuid.as_bytes();
        let info = match daemon.core.domain_info(id) {
            Ok(info) => info.filter(|i| i.domain == u32::from(id) && i.uuid == uuid),
            Err(e) => {
                tracing::error!("cannot look at domain {id}: {e}");
                continue;
            }
        };
        let acted = match info {
            None => true,
            Some(info) if info.state & state::SHUTDOWN != 0 => {
                std::mem::replace(&mut entry.live().stop_seen, true)
            }
            Some(_) => continue,
        };
        if info.is_none() || !acted {
            tokio::spawn(stopped(daemon.clone(), entry, id, info));
        }
    }
}

/// Acts upon a domain that has stopped, or that is not there any more.
async fn stopped(daemon: Arc<Daemon>, entry: Arc<Entry>, id: DomainId, info: Option<DomainInfo>) {
    let _work = entry.work.lock().await;
    // While we waited it may have been destroyed on request.
    if entry.id() != Some(id) || !daemon.knows(&entry) {
        return;
    }
    let name = entry.name();
    let about = Some((id, &*name));
    let journal = &daemon.journal;
    let Some(info) = info else {
        journal.write("destroyed", about, "somebody else destroyed it");
        // What `end` does to a domain that is gone is exactly the tidying up.
        let _ = end(&daemon, &entry).await;
        return;
    };
    let why = domain::reason_text(&info);
    let action = {
        let mut live = entry.live();
        let short = live.started.elapsed() < SHORT_LIFE;
        live.short_lives = if short { live.short_lives + 1 } else { 0 };
        match live.record.spec.action(info.reason) {
            Action::Restart if live.short_lives >= SHORT_LIVES => {
                let text = format!("it stopped {SHORT_LIVES} times within seconds; no restart");
                journal.write("failed", about, text);
                Action::Preserve
            }
            action => action,
        }
    };
    journal.write("stopped", about, &*why);
    let result = match action {
        Action::Preserve => {
            journal.write("preserved", about, "it is kept as it stopped, to be looked at");
            Ok(())
        }
        Action::Destroy => end(&daemon, &entry).await.map(|()| {
            let asked = info.reason == reason::POWEROFF;
            let after = if asked { "" } else { " after it stopped" };
            journal.write("destroyed", about, format!("it was destroyed{after}: {why}"));
        }),
        Action::Restart => restart(&daemon, &entry).await.map(|id| {
            journal.write("restarted", Some((id, &*name)), "it was built and started again");
        }),
    };
    if let Err(problem) = result {
        journal.write("failed", about, format!("{problem}"));
    }
}

/// Builds an entry's domain again. The caller holds `work`.
pub async fn restart(daemon: &Arc<Daemon>, entry: &Arc<Entry>) -> Answer<DomainId> {
    entry.detach().await;
    end_devices(daemon, entry).await?;
    let (old, record) = {
        let mut live = entry.live();
        let old = live.record.id.take();
        live.record.restarts += 1;
        (old, live.record.clone())
    };
    // From here on a daemon that comes after us builds it.
    if let Err(e) = record::store(&daemon.paths, &record) {
        tracing::warn!("cannot note the restart of `{}`: {e}", record.spec.name);
    }
    let again = async {
        if let Some(old) = old {
            destroy_in_core(daemon, old).await?;
        }
        bring_up(daemon, entry, false, &Cancel::default()).await
    };
    match again.await {
        Ok(info) => Ok(info.domain as DomainId),
        Err(problem) => {
            record::remove(&daemon.paths, record.uuid);
            daemon.remove(entry);
            Err(problem)
        }
    }
}
