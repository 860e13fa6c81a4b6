// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the daemon tells the backend of a network card: the settings in its
//! `device.json`, and the configuration space made of them.

use crate::guard::{Guard, Mac};
use crate::header::FRAME_MAX;
use hv_backend::throttle::Limits;
use hv_io::net::{Config, LINK_UP, feature};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Most pairs of queues.
pub const PAIRS_MAX: u16 = 16;
/// Smallest and largest `mtu` (RFC 791; what a tap takes).
pub const MTU: std::ops::RangeInclusive<u16> = 68..=65_521;
/// Ethernet header and one tag, which the `mtu` does not count.
const LINK_HEADER: usize = 14 + 4;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The tap, which is there already.
    pub tap: String,
    /// Address.
    pub mac: Mac,
    /// Largest packet.
    pub mtu: u16,
    /// Pairs of queues.
    pub pairs: u16,
    /// Whether the link is up.
    pub link: bool,
    /// Frames with another source are not sent.
    pub antispoof: bool,
    /// With `antispoof`: the only IP addresses it may use, if not any.
    pub addresses: Option<Vec<IpAddr>>,
    /// Limits of what the guest sends.
    pub send: Limits,
    /// Limits of what it receives.
    pub receive: Limits,
}

impl Settings {
    /// What can't be.
    pub fn check(&self) -> Result<(), String> {
        if self.mac[0] & 1 != 0 || self.mac == [0; 6] {
            return Err("the address of a card is no group's and not zero".into());
        }
        if !MTU.contains(&self.mtu) {
            return Err(format!("an MTU of {} is not possible", self.mtu));
        }
        if self.pairs == 0 || self.pairs > PAIRS_MAX {
            return Err(format!("{} pairs of queues are not possible", self.pairs));
        }
        Ok(())
    }

    /// Queues: a pair is one each way, several pairs need one for control.
    pub fn queues(&self) -> usize {
        let pairs = usize::from(self.pairs);
        2 * pairs + usize::from(pairs > 1)
    }

    /// Features that are offered.
    pub fn features(&self) -> u64 {
        let offloads = feature::CSUM
            | feature::HOST_TSO4
            | feature::HOST_TSO6
            | feature::HOST_ECN
            | feature::GUEST_CSUM
            | feature::GUEST_TSO4
            | feature::GUEST_TSO6
            | feature::GUEST_ECN;
        let several = if self.pairs > 1 { feature::MQ | feature::CTRL_VQ } else { 0 };
        let plain = feature::MAC | feature::MTU | feature::STATUS | feature::MRG_RXBUF;
        offloads | plain | several
    }

    /// Configuration space, with the link as it is now.
    pub fn config(&self, link: bool) -> Config {
        Config {
            mac: self.mac,
            status: if link { LINK_UP } else { 0 },
            max_virtqueue_pairs: self.pairs,
            mtu: self.mtu,
        }
    }

    /// What the guest may send.
    pub fn guard(&self) -> Option<Guard> {
        self.antispoof.then(|| Guard::new(self.mac, self.addresses.clone()))
    }

    /// The longest frame without segmentation.
    pub fn plain_max(&self) -> usize {
        (usize::from(self.mtu) + LINK_HEADER).min(FRAME_MAX)
    }
}
