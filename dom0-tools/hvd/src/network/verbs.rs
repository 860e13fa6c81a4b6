// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network cards that come and go while their domain runs, in the order that
//! `devices::verbs` has for disks.

use super::{Host, cards, check_clash, plan};
use crate::daemon::{Daemon, Entry};
use crate::devices::supervise::{Device, Status, supervise};
use crate::devices::verbs::{LETTING_GO, clear_slot, free_slot, home, store};
use crate::devices::{begin, raise_bus};
use crate::lifecycle::blocking;
use crate::problem::{Answer, Problem};
use hv_toolstack::api::{Network, NetworkChange};
use hv_toolstack::network::{NETWORKS_MAX, NetworkSpec, complete_all};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn is_card(device: &Device, name: &str) -> bool {
    device.record.kind == "network" && device.record.name == name
}

/// Gives a running domain one more card. The caller holds `work`.
pub async fn attach(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    network: NetworkSpec,
) -> Answer<Network> {
    let home = home(entry)?;
    if let Some((key, why)) = network.faults().into_iter().next() {
        return Err(Problem::new("invalid", format!("{key}: {why}")).field(key));
    }
    let domain_name = entry.name();
    let others = cards(daemon, &domain_name);
    let (network, plan, slot, incarnation, mut spare, bus) = {
        let mut live = entry.live();
        let mut networks = live.record.spec.networks.clone();
        if networks.iter().any(|n| !network.name.is_empty() && n.name == network.name) {
            let message = format!("the domain has a card `{}` already", network.name);
            return Err(Problem::new("exists", message).hint("give it another name=…"));
        }
        if let Some(mac) = network.mac {
            let own = networks.iter().filter_map(|n| n.mac).map(|mac| (domain_name.clone(), mac));
            check_clash(mac, &others.iter().cloned().chain(own).collect::<Vec<_>>())?;
        }
        networks.push(network);
        complete_all(&mut networks, *live.record.uuid.as_bytes());
        let count = networks.len();
        let network = networks.pop().unwrap_or_default();
        let used = live.devices.iter().map(|device| device.record.slot);
        let slot = free_slot(used).filter(|_| count <= NETWORKS_MAX);
        let slot = slot.ok_or_else(|| Problem::new("refused", "no slot for a device is free"))?;
        let plan = plan(&network, live.record.spec.vcpus, &domain_name, "bridge");
        let record = &mut live.record;
        record.incarnations += 1;
        let spare = std::mem::take(&mut record.spare_ports);
        (network, plan, slot, record.incarnations, spare, record.bus_port)
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
        live.record.spec.networks.push(network.clone());
        live.record.devices.push(begun.record.clone());
    }
    if let Err(problem) = store(daemon, entry) {
        forget(entry, &network.name, slot);
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
    let text = format!("network card `{}` was attached", network.name);
    daemon.journal.write("device", Some((home.domain, &*domain_name)), text);
    one(daemon, entry, &network.name).await
}

/// Takes a card's traces out of record and spec; its ports are spare.
fn forget(entry: &Entry, name: &str, slot: u32) {
    let mut live = entry.live();
    live.record.spec.networks.retain(|network| network.name != name);
    let at = live.record.devices.iter().position(|device| device.slot == slot);
    if let Some(device) = at.map(|at| live.record.devices.remove(at)) {
        live.record.spare_ports.push(device.config_port);
        live.record.spare_ports.extend(device.queue_ports);
    }
}

fn no_card(entry: &Entry, name: &str) -> Problem {
    let live = entry.live();
    let names: Vec<&str> = live.record.spec.networks.iter().map(|n| &*n.name).collect();
    let problem = Problem::new("not-found", format!("the domain has no network card `{name}`"));
    match hv_toolstack::file::nearest(name, names.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => problem.hint("it has no cards"),
        None => problem.hint(format!("its cards: {}", names.join(", "))),
    }
}

/// Takes a card from a running domain. The caller holds `work`.
pub async fn detach(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    name: &str,
    force: bool,
) -> Answer<()> {
    let home = home(entry)?;
    let found = {
        let live = entry.live();
        live.devices.iter().find(|d| is_card(d, name)).map(|d| (d.line(), d.watch()))
    };
    let Some((line, mut status)) = found else { return Err(no_card(entry, name)) };
    let asked = line.ask(json!({ "do": "remove" })).await;
    let gone = async {
        match asked {
            Ok(_) => drop(status.wait_for(|s: &Status| s.phase == "removed").await),
            Err(_) => std::future::pending::<()>().await,
        }
    };
    let patience = if force { Duration::from_secs(2) } else { LETTING_GO };
    if tokio::time::timeout(patience, gone).await.is_err() && !force {
        let message = format!("the guest does not let go of `{name}`");
        return Err(Problem::new("busy", message).hint("`--force` takes it away all the same"));
    }
    let device = {
        let mut live = entry.live();
        let at = live.devices.iter().position(|d| is_card(d, name));
        at.map(|at| live.devices.remove(at))
    };
    if let Some(device) = device {
        let (slot, core, domain) = (device.record.slot, daemon.core.clone(), home.domain);
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
    let text = format!("network card `{name}` was detached");
    daemon.journal.write("device", Some((home.domain, &*domain_name)), text);
    Ok(())
}

/// Changes link or limits of a card.
pub async fn change(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    name: &str,
    change: NetworkChange,
) -> Answer<Network> {
    let line = {
        let live = entry.live();
        live.devices.iter().find(|d| is_card(d, name)).map(Device::line)
    };
    let line = line.ok_or_else(|| no_card(entry, name))?;
    let refused = |why: String| Problem::new("refused", format!("`{name}`: {why}"));
    if let Some(up) = change.link {
        line.ask(json!({ "do": "link", "up": up })).await.map_err(refused)?;
    }
    let limits = |rate: Option<u64>| rate.map(|bytes| json!({ "bytes": bytes }));
    for (key, rate) in [("send", change.send_rate), ("receive", change.receive_rate)] {
        if let Some(limits) = limits(rate) {
            let mut request = json!({ "do": "limits" });
            request[key] = limits;
            line.ask(request).await.map_err(refused)?;
        }
    }
    {
        let mut live = entry.live();
        for card in live.record.spec.networks.iter_mut().filter(|card| card.name == name) {
            card.link = change.link.unwrap_or(card.link);
            card.send_rate = change.send_rate.unwrap_or(card.send_rate);
            card.receive_rate = change.receive_rate.unwrap_or(card.receive_rate);
        }
    }
    store(daemon, entry)?;
    one(daemon, entry, name).await
}

/// A card's document.
pub async fn one(daemon: &Daemon, entry: &Arc<Entry>, name: &str) -> Answer<Network> {
    let networks = all(daemon, entry).await;
    networks.into_iter().find(|card| card.name == name).ok_or_else(|| no_card(entry, name))
}

/// All cards' documents.
pub async fn all(daemon: &Daemon, entry: &Arc<Entry>) -> Vec<Network> {
    let lan = super::nat::load(&Host::machine(&daemon.paths).dir);
    let (found, uuid) = {
        let live = entry.live();
        let cards = live.record.spec.networks.iter();
        let device = |name: &str| live.devices.iter().find(|d| is_card(d, name));
        let found: Vec<_> = cards
            .map(|card| {
                let device = device(&card.name).map(|d| (d.record.slot, d.status(), d.line()));
                (card.clone(), device)
            })
            .collect();
        (found, live.record.uuid)
    };
    let mut networks = Vec::new();
    for (spec, device) in found {
        let host =
            lan.hosts.iter().find(|host| spec.nat && Some(host.mac) == spec.mac.map(|m| m.0));
        let mut network = Network {
            name: spec.name.clone(),
            address: host.map(|host| host.address.into()),
            spec,
            ..Network::default()
        };
        if let Some((slot, status, line)) = device {
            network.slot = Some(slot);
            network.tap = super::tap_name(uuid, slot);
            network.state = status.phase;
            network.reason = status.reason;
            network.pid = status.pid;
            network.restarts = status.restarts;
            network.stats = line.ask(json!({ "do": "stats" })).await.unwrap_or(Value::Null);
        }
        networks.push(network);
    }
    networks
}
