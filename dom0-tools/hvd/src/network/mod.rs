// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of network cards: for each a tap, on a bridge of the
//! administrator's or on the NAT network, and the settings of its backend.
//!
//! ```text
//! fn plan(spec, vcpus, domain, field) -> Plan         as of any device
//! fn ready(host, uuid, slot, plan) -> Answer<Value>    tap, bridge, address: the settings
//! fn release(dir)                                     takes back what `ready` made
//! ```
//!
//! [`links`]: what is done to interfaces; [`nat`]: the NAT network; [`verbs`]:
//! attaching and detaching. Taps are named after the domain's identity and the
//! card's slot, and what a card has is in its device's file, so that a daemon
//! that comes back knows whose they are.

pub mod links;
pub mod nat;
pub mod verbs;

use crate::daemon::{Daemon, Entry};
use crate::devices::Plan;
use crate::paths::Paths;
use crate::problem::{Answer, Problem};
use hv_backend::Files;
use hv_backend::throttle::Limits;
use hv_net::settings::Settings;
use hv_toolstack::file::nearest;
use hv_toolstack::network::{Mac, NetworkSpec};
use links::{Links, Machine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Where cards are made.
pub struct Host<'a> {
    /// Interfaces.
    pub links: &'a dyn Links,
    /// The daemon's files about networks.
    pub dir: PathBuf,
}

impl Host<'_> {
    /// This machine.
    pub fn machine(paths: &Paths) -> Self {
        Self { links: &Machine, dir: paths.networks() }
    }
}

/// What a plan has for settings until the card is made ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wish {
    spec: NetworkSpec,
    vcpus: u32,
    domain: String,
}

/// The device of a card in a domain with so many vCPUs.
pub fn plan(spec: &NetworkSpec, vcpus: u32, domain: &str, field: &str) -> Plan {
    let pairs = u32::from(spec.pairs(vcpus));
    let wish = Wish { spec: spec.clone(), vcpus, domain: domain.into() };
    Plan {
        kind: "network",
        name: spec.name.clone(),
        queues: 2 * pairs + u32::from(pairs > 1),
        // Plain values always serialise.
        settings: serde_json::to_value(wish).unwrap_or_default(),
        field: field.into(),
    }
}

/// Makes a planned card ready: its backend's settings.
pub fn ready(host: &Host<'_>, uuid: Uuid, slot: u32, plan: &Plan) -> Answer<Value> {
    let wish: Wish = serde_json::from_value(plan.settings.clone())
        .map_err(|e| Problem::new("failed", format!("the plan of a card: {e}")))?;
    let settings = prepare(host, &wish.spec, (uuid, slot, &wish.domain), wish.vcpus)
        .map_err(|problem| problem.field(&plan.field))?;
    Ok(serde_json::to_value(settings).unwrap_or_default())
}

/// Takes back what [`ready`] made for the device in a directory, if it is a
/// card; its backend is gone.
pub fn release(dir: &Path) {
    let Ok(files) = Files::read(dir) else { return };
    if files.device.kind != "network" {
        return;
    }
    let Ok(settings) = files.device.settings::<Settings>() else { return };
    // Devices are at devices/DOMAIN/SLOT.
    let dir = dir.ancestors().nth(3).unwrap_or(dir).join("networks");
    release_card(&Host { links: &Machine, dir }, &settings);
}

fn release_card(host: &Host<'_>, settings: &Settings) {
    host.links.remove_tap(&settings.tap);
    nat::leave(&host.dir, Mac(settings.mac));
}

/// Names and addresses for the cards of a new domain, which nobody else has.
pub fn complete(daemon: &Daemon, entry: &Arc<Entry>) -> Answer<()> {
    let (networks, name) = {
        let mut live = entry.live();
        let uuid = *live.record.uuid.as_bytes();
        hv_toolstack::network::complete_all(&mut live.record.spec.networks, uuid);
        (live.record.spec.networks.clone(), live.record.spec.name.clone())
    };
    for (i, network) in networks.iter().enumerate() {
        let Some(mac) = network.mac else { continue };
        check_clash(mac, &cards(daemon, &name))
            .map_err(|problem| problem.field(&format!("network[{i}].mac")))?;
    }
    Ok(())
}

/// The cards of all domains but one: domain and address.
pub fn cards(daemon: &Daemon, but: &str) -> Vec<(String, Mac)> {
    let mut cards = Vec::new();
    for entry in daemon.entries() {
        let live = entry.live();
        let spec = &live.record.spec;
        if spec.name != but {
            let macs = spec.networks.iter().filter_map(|network| network.mac);
            cards.extend(macs.map(|mac| (spec.name.clone(), mac)));
        }
    }
    cards
}

/// The tap of a domain's card.
pub fn tap_name(uuid: Uuid, slot: u32) -> String {
    let [a, b, c, d, ..] = *uuid.as_bytes();
    format!("hv{a:02x}{b:02x}{c:02x}{d:02x}n{slot}")
}

/// The card of a spec, made ready: tap, bridge, address. On failure nothing is
/// left.
pub fn prepare(
    host: &Host<'_>,
    spec: &NetworkSpec,
    (uuid, slot, name): (Uuid, u32, &str),
    vcpus: u32,
) -> Answer<Settings> {
    let links = host.links;
    let bridge = match &spec.bridge {
        Some(bridge) => check_bridge(links, bridge)?,
        None => {
            nat::make(links, &host.dir)?;
            nat::BRIDGE
        }
    };
    let mac = spec.mac.unwrap_or_else(|| Mac::of_domain(*uuid.as_bytes(), slot as usize));
    let addresses = match spec.nat {
        true => Some(vec![nat::join(&host.dir, mac, name)?.into()]),
        false => spec.addresses.clone(),
    };
    let limits = |bytes| Limits { bytes, ..Limits::default() };
    let settings = Settings {
        tap: tap_name(uuid, slot),
        mac: mac.0,
        mtu: spec.mtu,
        pairs: spec.pairs(vcpus),
        link: spec.link,
        antispoof: spec.antispoof,
        addresses: addresses.filter(|_| spec.antispoof),
        send: limits(spec.send_rate),
        receive: limits(spec.receive_rate),
    };
    if let Err(why) = connect(links, &settings.tap, bridge, spec) {
        release_card(host, &settings);
        return Err(Problem::new("failed", format!("cannot connect to `{bridge}`: {why}")));
    }
    Ok(settings)
}

fn connect(links: &dyn Links, tap: &str, bridge: &str, spec: &NetworkSpec) -> Result<(), String> {
    // One that a daemon left when it was killed.
    links.remove_tap(tap);
    links.make_tap(tap)?;
    let mtu = spec.mtu.to_string();
    links.run("ip", &["link", "set", "dev", tap, "mtu", &mtu], "")?;
    links.run("ip", &["link", "set", "dev", tap, "master", bridge], "")?;
    if let Some(vlan) = spec.vlan {
        let vlan = vlan.to_string();
        links.run("bridge", &["vlan", "del", "dev", tap, "vid", "1"], "")?;
        let add = ["vlan", "add", "dev", tap, "vid", &vlan, "pvid", "untagged"];
        links.run("bridge", &add, "")?;
    }
    links.run("ip", &["link", "set", "dev", tap, "up"], "")
}

fn check_bridge<'a>(links: &dyn Links, name: &'a str) -> Answer<&'a str> {
    match links.look(name) {
        Some(true) => Ok(name),
        Some(false) => {
            let problem = Problem::new("invalid", format!("`{name}` is no bridge"));
            Err(problem.hint("make a bridge and put the interface into it"))
        }
        None => {
            let bridges = links.bridges();
            let problem = Problem::new("invalid", format!("there is no bridge `{name}`"));
            Err(match nearest(name, bridges.iter().map(|b| &**b)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None if bridges.is_empty() => problem.hint(format!(
                    "there are none; make one by `ip link add {name} type bridge`, or use nat = true"
                )),
                None => problem.hint(format!("there are: {}", bridges.join(", "))),
            })
        }
    }
}

/// Refuses an address that another card has.
pub fn check_clash(mac: Mac, others: &[(String, Mac)]) -> Answer<()> {
    match others.iter().find(|(_, other)| *other == mac) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!("a card of `{name}` has the address {mac} already");
            Err(Problem::new("exists", message).hint("leave `mac` out to get a free one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::links::tests::Notes;
    use super::*;

    fn host<'a>(notes: &'a Notes, dir: &tempfile::TempDir) -> Host<'a> {
        Host { links: notes, dir: dir.path().to_owned() }
    }

    fn bridged(name: &str) -> NetworkSpec {
        NetworkSpec { bridge: Some(name.into()), ..NetworkSpec::default() }
    }

    #[test]
    fn a_card_on_a_bridge() {
        let notes = Notes { bridges: vec!["br0".into()], ..Notes::default() };
        let dir = tempfile::tempdir().unwrap();
        let host = host(&notes, &dir);
        let uuid = Uuid::from_bytes([0xab; 16]);
        let mut spec = bridged("br0");
        spec.vlan = Some(10);
        spec.send_rate = 1 << 20;
        let settings = prepare(&host, &spec, (uuid, 1, "web"), 4).unwrap();
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(
            (&*settings.tap, settings.pairs, settings.send.bytes),
            ("hvababababn1", 4, 1 << 20)
        );
        assert!(settings.tap.len() <= 15 && settings.addresses.is_none());
    }

    #[test]
    fn a_card_on_the_nat_network_is_held_to_its_address() {
        let (notes, dir) = (Notes::default(), tempfile::tempdir().unwrap());
        let host = host(&notes, &dir);
        let spec = NetworkSpec { nat: true, ..NetworkSpec::default() };
        let uuid = Uuid::from_bytes([1; 16]);
        let settings = prepare(&host, &spec, (uuid, 0, "web"), 1).unwrap();
        assert_eq!(settings.addresses.as_deref(), Some(&["10.118.0.2".parse().unwrap()][..]));
        release_card(&host, &settings);
        assert!(nat::load(&host.dir).hosts.is_empty());
    }

    #[test]
    fn bridges_that_are_not_there() {
        let notes = Notes { bridges: vec!["br0".into(), "lan".into()], ..Notes::default() };
        let dir = tempfile::tempdir().unwrap();
        let host = host(&notes, &dir);
        let told = |name: &str| {
            let problem = prepare(&host, &bridged(name), (Uuid::nil(), 0, "x"), 1).unwrap_err();
            (problem.to_string(), problem.0.hint.unwrap_or_default())
        };
        assert_eq!(told("br1"), ("there is no bridge `br1`".into(), "did you mean `br0`?".into()));
        assert_eq!(told("zzzzzz").1, "there are: br0, lan");
        assert_eq!(told("eth0").0, "`eth0` is no bridge");
    }

    #[test]
    fn addresses_clash() {
        let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let others = [("db".to_owned(), b), ("web".to_owned(), a)];
        assert!(check_clash(a, &others[..1]).is_ok());
        let problem = check_clash(a, &others).unwrap_err();
        assert!(problem.to_string().contains("`web`"), "{problem}");
    }
}
