// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network card as its owner wants it: one `[[network]]` of the domain file.

use crate::spec::check_name;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Cards a domain can have: more than this is a typing error.
pub const NETWORKS_MAX: usize = 8;
/// Most pairs of queues.
pub const QUEUES_MAX: u32 = 16;
/// The least limit of a rate: one large packet a second.
pub const RATE_MIN: u64 = 64 << 10;

/// An Ethernet address, written `02:68:76:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Parses six pairs of hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2);
            *byte = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or("expected an address such as \"02:68:76:00:00:01\"")?;
        }
        match parts.next() {
            Some(_) => Err("an address has six bytes".into()),
            None if bytes[0] & 1 != 0 => Err("the address of a group; a card has its own".into()),
            None if bytes == [0; 6] => Err("no card has the address zero".into()),
            None => Ok(Self(bytes)),
        }
    }

    /// The address of card `index` of a domain that names none: locally
    /// administered, and the same in each of the domain's lives.
    pub fn of_domain(uuid: [u8; 16], index: usize) -> Self {
        let [.., a, b, c] = uuid;
        Self([0x02, 0x68, 0x76, a, b, c.wrapping_add(index as u8)])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// Unique among the domain's cards.
    pub name: String,
    /// The bridge it is a port of.
    pub bridge: Option<String>,
    /// On the NAT network instead.
    pub nat: bool,
    /// Address; one is made if there is none.
    pub mac: Option<Mac>,
    /// Largest packet.
    pub mtu: u16,
    /// The VLAN of the bridge it is in.
    pub vlan: Option<u16>,
    /// Pairs of queues; as many as vCPUs, up to [`QUEUES_MAX`], if there is none.
    pub queues: Option<u16>,
    /// Whether the link is up.
    pub link: bool,
    /// Frames with another source are not sent.
    pub antispoof: bool,
    /// The only IP addresses it may use.
    pub addresses: Option<Vec<IpAddr>>,
    /// Limit of what the guest sends in bytes per second, 0 for none.
    pub send_rate: u64,
    /// Limit of what it receives.
    pub receive_rate: u64,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            bridge: None,
            nat: false,
            mac: None,
            mtu: 1500,
            vlan: None,
            queues: None,
            link: true,
            antispoof: true,
            addresses: None,
            send_rate: 0,
            receive_rate: 0,
        }
    }
}

impl NetworkSpec {
    /// What is wrong without looking at the host: key and message.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut no = |key, message: &str| faults.push((key, message.to_owned()));
        if let Err(why) = check_name(&self.name)
            && !self.name.is_empty()
        {
            no("name", &why);
        }
        match (&self.bridge, self.nat) {
            (None, false) => {
                no("bridge", "neither a bridge nor `nat = true`; which network is it?")
            }
            (Some(_), true) => no("bridge", "a bridge and `nat = true`; a card has one network"),
            (Some(name), false) if !is_interface_name(name) => {
                no("bridge", "no name of an interface: 1 to 15 characters without `/` and spaces");
            }
            _ => {}
        }
        if self.mtu < 68 || self.mtu > 65_521 {
            no("mtu", "out of range; 68 to 65521 are possible");
        }
        if self.vlan.is_some_and(|vlan| vlan == 0 || vlan > 4094) {
            no("vlan", "out of range; 1 to 4094 are possible");
        }
        if self.vlan.is_some() && self.nat {
            no("vlan", "the NAT network has no VLANs");
        }
        if self.queues.is_some_and(|n| n == 0 || u32::from(n) > QUEUES_MAX) {
            no("queues", "out of range; 1 to 16 are possible");
        }
        if self.addresses.is_some() && !self.antispoof {
            no("addresses", "nobody holds it to its addresses with `antispoof = false`");
        }
        for (key, rate) in [("send_rate", self.send_rate), ("receive_rate", self.receive_rate)] {
            if rate != 0 && rate < RATE_MIN {
                no(key, "too little to pass a large packet; at least 64K are possible");
            }
        }
        faults
    }

    /// Pairs of queues for a domain with so many vCPUs.
    pub fn pairs(&self, vcpus: u32) -> u16 {
        self.queues.unwrap_or(vcpus.clamp(1, QUEUES_MAX) as u16)
    }
}

/// Gives every card without a name one, and one without an address that of its
/// place in the domain.
pub fn complete_all(networks: &mut [NetworkSpec], uuid: [u8; 16]) {
    for i in 0..networks.len() {
        if networks[i].name.is_empty() {
            let name = free_name(networks);
            networks[i].name = name;
        }
        if networks[i].mac.is_none() {
            let mac = free_mac(networks, uuid);
            networks[i].mac = Some(mac);
        }
    }
}

/// The first of `net0`, `net1`, … that no card has.
fn free_name(networks: &[NetworkSpec]) -> String {
    let mut names = (0..).map(|number| format!("net{number}"));
    let free = names.find(|name| networks.iter().all(|network| network.name != *name));
    free.unwrap_or_default()
}

/// The first address of a domain that none of its cards has.
fn free_mac(networks: &[NetworkSpec], uuid: [u8; 16]) -> Mac {
    let mut all = (0..).map(|index| Mac::of_domain(uuid, index));
    let free = all.find(|mac| networks.iter().all(|network| network.mac != Some(*mac)));
    free.unwrap_or(Mac::of_domain(uuid, 0))
}

/// Whether the kernel could have an interface of this name.
pub fn is_interface_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    (1..=15).contains(&name.len()) && name.chars().all(plain) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let mac = Mac::parse("02:68:76:0a:00:ff").unwrap();
        assert_eq!((mac.to_string(), mac.0[3]), ("02:68:76:0a:00:ff".into(), 10));
        for bad in [
            "",
            "02:68:76:0a:00",
            "02:68:76:0a:00:ff:1",
            "01:00:5e:00:00:01",
            "0:1:2:3:4:5",
            "00:00:00:00:00:00",
            "gg:00:00:00:00:00",
        ] {
            assert!(Mac::parse(bad).is_err(), "{bad}");
        }
        let made = Mac::of_domain([7; 16], 1);
        assert!(Mac::parse(&made.to_string()).is_ok() && made != Mac::of_domain([7; 16], 0));
    }

    #[test]
    fn one_network_and_values_in_range() {
        let bridged = NetworkSpec { bridge: Some("br0".into()), ..Default::default() };
        assert_eq!(bridged.faults(), []);
        let both = NetworkSpec { nat: true, ..bridged.clone() };
        let none = NetworkSpec::default();
        let vlan = NetworkSpec { vlan: Some(4095), ..bridged.clone() };
        let slow = NetworkSpec { send_rate: 100, ..bridged.clone() };
        let name = NetworkSpec { bridge: Some("a/b".into()), ..bridged };
        for (bad, key) in [
            (both, "bridge"),
            (none, "bridge"),
            (vlan, "vlan"),
            (slow, "send_rate"),
            (name, "bridge"),
        ] {
            assert_eq!(bad.faults().first().map(|f| f.0), Some(key));
        }
    }
}
