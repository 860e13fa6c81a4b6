// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that come and go while their domain runs.
//!
//! The order of attaching: spec and record, so that a daemon that is killed
//! half-way leaves what its successor clears or finishes; backend; bus event.
//! The order of detaching: the guest is asked; when it has let go, or when it
//! is overruled, the backend ends, then record and spec forget.

use super::supervise::{Device, Status, supervise};
use super::{Home, Plan, begin, block, raise_bus};
use crate::daemon::{Daemon, Entry};
use crate::lifecycle::blocking;
use crate::problem::{Answer, Problem};
use crate::record;
use hv_abi::PAGE_SIZE;
use hv_client::Core;
use hv_toolstack::api::{Disk, DiskChange};
use hv_toolstack::disk::{DISKS_MAX, DiskSpec, free_name};
use hv_toolstack::layout;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a guest may take to let go of a device.
pub const LETTING_GO: Duration = Duration::from_secs(15);

/// Where the devices of a running domain are.
pub fn home(entry: &Entry) -> Answer<Home> {
    let live = entry.live();
    let record = &live.record;
    match record.id {
        Some(domain) => Ok(Home { domain, uuid: record.uuid, memory: record.spec.memory }),
        None => Err(Problem::new("busy", "the domain is just being started again")),
    }
}

/// The first slot without a device.
pub fn free_slot(used: impl Iterator<Item = u32>) -> Option<u32> {
    let used: Vec<u32> = used.collect();
    (0..layout::DEVICE_PAGES).find(|slot| !used.contains(slot))
}

/// Writes the record.
pub fn store(daemon: &Daemon, entry: &Entry) -> Answer<()> {
    let record = entry.live().record.clone();
    record::store(&daemon.paths, &record).map_err(|e| {
        let message = format!("cannot write the domain's record: {e}");
        Problem::new("failed", message).hint("is the file system of /run full?")
    })
}

/// Gives a running domain one more disk. The caller holds `work`.
pub async fn attach(daemon: &Arc<Daemon>, entry: &Arc<Entry>, mut disk: DiskSpec) -> Answer<Disk> {
    let home = home(entry)?;
    let (plan, slot, incarnation, mut spare, bus) = {
        let mut live = entry.live();
        let disks = &live.record.spec.disks;
        if disk.name.is_empty() {
            disk.name = free_name(disks);
        }
        if let Some((key, why)) = disk.faults().into_iter().next() {
            return Err(Problem::new("invalid", format!("{key}: {why}")).field(key));
        }
        if disks.iter().any(|other| other.name == disk.name) {
            let message = format!("the domain has a disk `{}` already", disk.name);
            return Err(Problem::new("exists", message).hint("give it another name=…"));
        }
        let used = live.devices.iter().map(|device| device.record.slot);
        let slot = free_slot(used).filter(|_| disks.len() < DISKS_MAX);
        let slot = slot.ok_or_else(|| Problem::new("refused", "no slot for a device is free"))?;
        let plan = block::plan(&disk, live.record.spec.vcpus, "path");
        live.record.incarnations += 1;
        let record = &mut live.record;
        (plan, slot, record.incarnations, std::mem::take(&mut record.spare_ports), record.bus_port)
    };
    let begun = {
        let (daemon, home) = (daemon.clone(), home.clone());
        blocking(move || {
            let begun = begin(&daemon, &home, &plan, (slot, incarnation), &mut spare);
            Ok((begun, spare))
        })
        .await
    };
    let (begun, spare) = begun?;
    entry.live().record.spare_ports = spare;
    let begun = begun?;
    {
        let mut live = entry.live();
        live.record.spec.disks.push(disk.clone());
        live.record.devices.push(begun.record.clone());
    }
    if let Err(problem) = store(daemon, entry) {
        forget(entry, &disk.name, slot);
        blocking(move || {
            drop(begun);
            Ok(())
        })
        .await?;
        return Err(problem);
    }
    let (device, running) = begun.release();
    let device = supervise(daemon, entry, device, running);
    entry.live().devices.push(device);
    raise_bus(&*daemon.core, home.domain, bus)?;
    let name = entry.name();
    let text = format!("disk `{}` ({}) was attached", disk.name, disk.path.display());
    daemon.journal.write("device", Some((home.domain, &*name)), text);
    one(entry, &disk.name).await
}

/// Takes a device's traces out of record and spec; its ports are spare.
fn forget(entry: &Entry, name: &str, slot: u32) {
    let mut live = entry.live();
    live.record.spec.disks.retain(|disk| disk.name != name);
    let at = live.record.devices.iter().position(|device| device.slot == slot);
    if let Some(device) = at.map(|at| live.record.devices.remove(at)) {
        live.record.spare_ports.push(device.config_port);
        live.record.spare_ports.extend(device.queue_ports);
    }
}

fn no_disk(entry: &Entry, name: &str) -> Problem {
    let live = entry.live();
    let names: Vec<&str> = live.record.spec.disks.iter().map(|d| &*d.name).collect();
    let problem = Problem::new("not-found", format!("the domain has no disk `{name}`"));
    match hv_toolstack::file::nearest(name, names.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => problem.hint("it has no disks"),
        None => problem.hint(format!("its disks: {}", names.join(", "))),
    }
}

/// Takes a disk from a running domain. The caller holds `work`.
pub async fn detach(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    name: &str,
    force: bool,
) -> Answer<()> {
    let home = home(entry)?;
    let found = {
        let live = entry.live();
        live.devices.iter().find(|d| is_disk(d, name)).map(|d| (d.line(), d.watch()))
    };
    let Some((line, mut status)) = found else { return Err(no_disk(entry, name)) };
    let asked = line.ask(json!({ "do": "remove" })).await;
    let gone = async {
        if asked.is_ok() {
            let _ = status.wait_for(|s: &Status| s.phase == "removed").await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let patience = if force { Duration::from_secs(2) } else { LETTING_GO };
    if tokio::time::timeout(patience, gone).await.is_err() && !force {
        let message = format!("the guest does not let go of `{name}`");
        return Err(Problem::new("busy", message)
            .hint("is it mounted? `--force` takes it away all the same, and may cost data"));
    }
    let device = {
        let mut live = entry.live();
        let at = live.devices.iter().position(|d| is_disk(d, name));
        at.map(|at| live.devices.remove(at))
    };
    if let Some(device) = device {
        let slot = device.record.slot;
        let core = daemon.core.clone();
        let domain = home.domain;
        blocking(move || {
            device.end();
            clear_slot(&*core, domain, slot)
        })
        .await?;
        forget(entry, name, slot);
    }
    store(daemon, entry)?;
    let bus = entry.live().record.bus_port;
    raise_bus(&*daemon.core, home.domain, bus)?;
    let domain_name = entry.name();
    let text = format!("disk `{name}` was detached");
    daemon.journal.write("device", Some((home.domain, &*domain_name)), text);
    Ok(())
}

/// Empties a slot whose backend may not have come to it.
pub fn clear_slot(core: &dyn Core, domain: u16, slot: u32) -> Answer<()> {
    let gpa = layout::DEVICES + u64::from(slot) * PAGE_SIZE;
    let page = core.map(domain, gpa, PAGE_SIZE as usize)?;
    page.set_word(hv_io::slot::offset::MAGIC, 0)?;
    Ok(page.set_word(hv_io::slot::offset::STATE, 0)?)
}

fn is_disk(device: &Device, name: &str) -> bool {
    device.record.kind == "block" && device.record.name == name
}

/// Changes size or limits of a disk.
pub async fn change(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    name: &str,
    change: DiskChange,
) -> Answer<Disk> {
    let line = {
        let live = entry.live();
        live.devices.iter().find(|d| is_disk(d, name)).map(Device::line)
    };
    let line = line.ok_or_else(|| no_disk(entry, name))?;
    let refused = |why: String| Problem::new("refused", format!("`{name}`: {why}"));
    if change.resize {
        let request = json!({ "do": "resize", "size": change.size });
        line.ask(request).await.map_err(refused)?;
    }
    if change.read.is_some() || change.write.is_some() {
        let request = json!({ "do": "throttle", "read": change.read, "write": change.write });
        line.ask(request).await.map_err(refused)?;
        let mut live = entry.live();
        for disk in live.record.spec.disks.iter_mut().filter(|disk| disk.name == name) {
            disk.read = change.read.unwrap_or(disk.read);
            disk.write = change.write.unwrap_or(disk.write);
        }
    }
    store(daemon, entry)?;
    one(entry, name).await
}

/// Has held requests tried again, before their domain runs again.
pub async fn resume(entry: &Arc<Entry>) {
    let held: Vec<_> = {
        let live = entry.live();
        live.devices.iter().filter(|d| d.status().phase == "held").map(Device::line).collect()
    };
    for line in held {
        if let Err(why) = line.ask(json!({ "do": "resume" })).await {
            tracing::warn!("held requests are not tried again: {why}");
        }
    }
}

/// Why devices hold their domain up, if one does.
pub fn held(entry: &Entry) -> Option<String> {
    let live = entry.live();
    let held = live.devices.iter().map(|d| (d, d.status())).find(|(_, s)| s.phase == "held");
    held.map(|(d, s)| format!("{}: {}", d.record.name, s.reason.unwrap_or_default()))
}

/// A disk's document.
pub async fn one(entry: &Arc<Entry>, name: &str) -> Answer<Disk> {
    let disks = all(entry).await;
    disks.into_iter().find(|disk| disk.name == name).ok_or_else(|| no_disk(entry, name))
}

/// All disks' documents.
pub async fn all(entry: &Arc<Entry>) -> Vec<Disk> {
    let found: Vec<_> = {
        let live = entry.live();
        let disks = live.record.spec.disks.iter();
        let device = |disk: &DiskSpec| live.devices.iter().find(|d| is_disk(d, &disk.name));
        disks
            .map(|disk| {
                let device = device(disk).map(|d| (d.record.slot, d.status(), d.line()));
                (disk.clone(), device)
            })
            .collect()
    };
    let mut disks = Vec::new();
    for (spec, device) in found {
        let mut disk = Disk { name: spec.name.clone(), spec, ..Disk::default() };
        if let Some((slot, status, line)) = device {
            disk.slot = Some(slot);
            disk.state = status.phase;
            disk.reason = status.reason;
            disk.pid = status.pid;
            disk.restarts = status.restarts;
            disk.stats = line.ask(json!({ "do": "stats" })).await.unwrap_or(Value::Null);
        }
        disks.push(disk);
    }
    disks
}

/// The devices a domain begins with; on failure nothing is left. Blocks.
pub fn begin_all(
    daemon: &Daemon,
    home: &Home,
    plans: &[Plan],
    incarnations: &mut u32,
) -> Answer<Vec<super::Begun>> {
    let mut begun = Vec::new();
    for (slot, plan) in plans.iter().enumerate() {
        *incarnations += 1;
        begun.push(begin(daemon, home, plan, (slot as u32, *incarnations), &mut Vec::new())?);
    }
    Ok(begun)
}
