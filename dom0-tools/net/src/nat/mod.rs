// SPDX-License-Identifier: MIT OR Apache-2.0
//! The service of a NAT network: DHCP and DNS for the guests on one bridge, in
//! a process of its own (`hv-nat`), which the daemon starts, feeds and
//! supervises. What it serves is a [`Lan`], a file that the daemon writes.
//!
//! - [`dhcp`]: one answer to one message; every guest has a fixed address.
//! - [`dns`]: queries passed on to the control domain's own name servers.

pub mod dhcp;
pub mod dns;

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A guest's interface on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The address it gets.
    pub address: Ipv4Addr,
    /// The domain's name.
    pub name: String,
}

/// A NAT network, as its service sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lan {
    /// The bridge.
    pub interface: String,
    /// The control domain's address on it: router, DHCP and DNS server.
    pub router: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// Largest packet.
    pub mtu: u16,
    /// User the service becomes; 0: stays who it is.
    pub uid: u32,
    /// Who gets an address.
    pub hosts: Vec<Host>,
}

impl Lan {
    /// The subnet's mask.
    pub fn mask(&self) -> Ipv4Addr {
        let bits = u32::from(self.prefix.min(32));
        Ipv4Addr::from(u32::MAX.checked_shl(32 - bits).unwrap_or(0))
    }

    /// The subnet's broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.router) | !u32::from(self.mask()))
    }
}
