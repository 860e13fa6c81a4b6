// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anti-spoofing: whether a guest may send a frame.
//!
//! ```text
//! fn check(&self, head: &[u8]) -> Result<(), Spoof>
//! ```
//!
//! `head` is a private copy of the frame's first bytes ([`HEAD`] of them, or all
//! there are); the same copy goes out, so that a guest can't change it after
//! the look. A guard without addresses looks at the Ethernet source only; one
//! with addresses knows ARP, IPv4, IPv6 and neighbour discovery, and lets
//! nothing else pass.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a frame that are looked at: Ethernet, IPv6 with a hop-by-hop
/// header, and a neighbour message with its options.
pub const HEAD: usize = 256;

/// An Ethernet address.
pub type Mac = [u8; 6];

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// Why a frame is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoof {
    /// Too short for what it claims to be.
    Short,
    /// The Ethernet source is another's.
    Mac,
    /// An IP source or an ARP sender is another's.
    Ip,
    /// A neighbour message speaks for another.
    Neighbour,
    /// It plays router, DHCP server or bridge.
    Role,
    /// A protocol that is not known here.
    Protocol,
}

/// What one guest may send.
#[derive(Clone, Debug)]
pub struct Guard {
    mac: Mac,
    addresses: Option<Vec<IpAddr>>,
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> Result<[u8; N], Spoof> {
    let end = at.checked_add(N).ok_or(Spoof::Short)?;
    frame.get(at..end).and_then(|b| b.try_into().ok()).ok_or(Spoof::Short)
}

fn word(frame: &[u8], at: usize) -> Result<u16, Spoof> {
    bytes(frame, at).map(u16::from_be_bytes)
}

fn byte(frame: &[u8], at: usize) -> Result<u8, Spoof> {
    frame.get(at).copied().ok_or(Spoof::Short)
}

impl Guard {
    /// A guard of `mac`, and of `addresses` if there are any to hold to.
    pub fn new(mac: Mac, addresses: Option<Vec<IpAddr>>) -> Self {
        Self { mac, addresses }
    }

    /// Whether a frame that begins with `head` may go out.
    pub fn check(&self, head: &[u8]) -> Result<(), Spoof> {
        if bytes::<6>(head, 6)? != self.mac {
            return Err(Spoof::Mac);
        }
        // Reserved group addresses are the bridge's own protocols (802.1D, 7.12.6).
        if bytes::<5>(head, 0)? == [0x01, 0x80, 0xc2, 0x00, 0x00] {
            return Err(Spoof::Role);
        }
        let Some(addresses) = &self.addresses else { return Ok(()) };
        match word(head, 12)? {
            ARP => self.arp(head, addresses),
            IPV4 => ipv4(head, addresses),
            IPV6 => self.ipv6(head, addresses),
            // What is behind a tag would pass unseen.
            TAG | SERVICE_TAG => Err(Spoof::Protocol),
            _ => Err(Spoof::Protocol),
        }
    }

    /// RFC 826; a sender of 0.0.0.0 is a probe (RFC 5227).
    fn arp(&self, head: &[u8], addresses: &[IpAddr]) -> Result<(), Spoof> {
        if bytes::<6>(head, 14)? != [0, 1, 8, 0, 6, 4] {
            return Err(Spoof::Protocol);
        }
        if bytes::<6>(head, 22)? != self.mac {
            return Err(Spoof::Mac);
        }
        let sender = Ipv4Addr::from(bytes::<4>(head, 28)?);
        if sender.is_unspecified() || addresses.contains(&IpAddr::V4(sender)) {
            return Ok(());
        }
        Err(Spoof::Ip)
    }

    fn ipv6(&self, head: &[u8], addresses: &[IpAddr]) -> Result<(), Spoof> {
        if byte(head, 14)? >> 4 != 6 {
            return Err(Spoof::Protocol);
        }
        let source = Ipv6Addr::from(bytes::<16>(head, 22)?);
        let own = |address: Ipv6Addr| {
            address == link_local(self.mac) || addresses.contains(&IpAddr::V6(address))
        };
        let (mut next, mut at) = (byte(head, 20)?, 54);
        // Hop-by-hop and destination options (RFC 8200, 4.3, 4.6), a few.
        for _ in 0..4 {
            if next != 0 && next != 60 {
                break;
            }
            next = byte(head, at)?;
            at += 8 + 8 * usize::from(byte(head, at + 1)?);
        }
        match next {
            58 => self.icmp6(head, at, source.is_unspecified() || own(source), own),
            // A first fragment may hide a neighbour message (RFC 6980).
            44 if byte(head, at)? == 58 => Err(Spoof::Neighbour),
            // Options beyond those we went through.
            0 | 60 => Err(Spoof::Protocol),
            _ if !own(source) => Err(Spoof::Ip),
            // A DHCPv6 server's port.
            17 if word(head, at)? == 547 => Err(Spoof::Role),
            _ => Ok(()),
        }
    }

    /// ICMPv6 at `at` (RFC 4861).
    fn icmp6(
        &self,
        head: &[u8],
        at: usize,
        source_is_own: bool,
        own: impl Fn(Ipv6Addr) -> bool,
    ) -> Result<(), Spoof> {
        let options = match byte(head, at)? {
            // Router advertisement, redirect.
            134 | 137 => return Err(Spoof::Role),
            // Router solicitation, neighbour solicitation and advertisement.
            133 => at + 8,
            135 => at + 24,
            136 => {
                if !own(Ipv6Addr::from(bytes::<16>(head, at + 8)?)) {
                    return Err(Spoof::Neighbour);
                }
                at + 24
            }
            _ => return if source_is_own { Ok(()) } else { Err(Spoof::Ip) },
        };
        if !source_is_own {
            return Err(Spoof::Ip);
        }
        let mut at = options;
        while at < head.len() {
            let (kind, len) = (byte(head, at)?, 8 * usize::from(byte(head, at + 1)?));
            if len == 0 {
                return Err(Spoof::Neighbour);
            }
            // Source and target link-layer address.
            if matches!(kind, 1 | 2) && bytes::<6>(head, at + 2)? != self.mac {
                return Err(Spoof::Neighbour);
            }
            at += len;
        }
        Ok(())
    }
}

fn ipv4(head: &[u8], addresses: &[IpAddr]) -> Result<(), Spoof> {
    let first = byte(head, 14)?;
    if first >> 4 != 4 || first & 15 < 5 {
        return Err(Spoof::Protocol);
    }
    let source = Ipv4Addr::from(bytes::<4>(head, 26)?);
    let fragment = word(head, 20)? & 0x1fff != 0;
    let udp = byte(head, 23)? == 17 && !fragment;
    let ports = 14 + 4 * usize::from(first & 15);
    if udp && word(head, ports)? == 67 {
        return Err(Spoof::Role);
    }
    if addresses.contains(&IpAddr::V4(source)) {
        return Ok(());
    }
    // A DHCP client has no address yet (RFC 2131, 4.1).
    if source.is_unspecified() && udp && word(head, ports)? == 68 && word(head, ports + 2)? == 67 {
        return Ok(());
    }
    Err(Spoof::Ip)
}

/// The link-local address made of an Ethernet address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = [0x02, 0x16, 0x3e, 1, 2, 3];
    const OTHER: Mac = [0x02, 0x16, 0x3e, 9, 9, 9];
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const IP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);

    fn guard() -> Guard {
        Guard::new(MAC, Some(vec![IP.into(), IP6.into()]))
    }

    fn ethernet(source: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(source);
        frame.extend(kind.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn arp(sender: Mac, ip: Ipv4Addr) -> Vec<u8> {
        let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
        body.extend(sender);
        body.extend(ip.octets());
        body.extend([0; 10]);
        ethernet(MAC, ARP, &body)
    }

    fn udp4(source: Ipv4Addr, from: u16, to: u16) -> Vec<u8> {
        let mut body = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
        body.extend(source.octets());
        body.extend([10, 0, 0, 1]);
        body.extend(from.to_be_bytes());
        body.extend(to.to_be_bytes());
        body.extend([0, 8, 0, 0]);
        ethernet(MAC, IPV4, &body)
    }

    fn ip6(source: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
        body.extend(source.octets());
        body.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
        body.extend(payload);
        ethernet(MAC, IPV6, &body)
    }

    fn neighbour(kind: u8, target: Ipv6Addr, option: Mac) -> Vec<u8> {
        let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        body.extend(target.octets());
        body.extend([if kind == 135 { 1 } else { 2 }, 1]);
        body.extend(option);
        body
    }

    #[test]
    fn without_addresses_only_the_mac_counts() {
        let guard = Guard::new(MAC, None);
        assert_eq!(guard.check(&ethernet(MAC, 0x1234, &[])), Ok(()));
        assert_eq!(guard.check(&ethernet(OTHER, IPV4, &[0; 40])), Err(Spoof::Mac));
        assert_eq!(guard.check(&[0; 5]), Err(Spoof::Short));
        let mut bpdu = ethernet(MAC, 0x0026, &[0x42; 40]);
        bpdu[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, 0]);
        assert_eq!(guard.check(&bpdu), Err(Spoof::Role));
    }

    #[test]
    fn arp_speaks_for_its_sender_only() {
        assert_eq!(guard().check(&arp(MAC, IP)), Ok(()));
        assert_eq!(guard().check(&arp(MAC, Ipv4Addr::UNSPECIFIED)), Ok(()));
        assert_eq!(guard().check(&arp(OTHER, IP)), Err(Spoof::Mac));
        assert_eq!(guard().check(&arp(MAC, Ipv4Addr::new(10, 0, 0, 1))), Err(Spoof::Ip));
        assert_eq!(guard().check(&arp(MAC, IP)[..30]), Err(Spoof::Short));
    }

    #[test]
    fn ipv4_sources_and_dhcp() {
        assert_eq!(guard().check(&udp4(IP, 1000, 2000)), Ok(()));
        assert_eq!(guard().check(&udp4(Ipv4Addr::new(10, 0, 0, 6), 1, 2)), Err(Spoof::Ip));
        assert_eq!(guard().check(&udp4(Ipv4Addr::UNSPECIFIED, 68, 67)), Ok(()));
        assert_eq!(guard().check(&udp4(Ipv4Addr::UNSPECIFIED, 1, 67)), Err(Spoof::Ip));
        assert_eq!(guard().check(&udp4(IP, 67, 68)), Err(Spoof::Role));
        assert_eq!(guard().check(&udp4(IP, 1, 2)[..30]), Err(Spoof::Short));
        assert_eq!(guard().check(&ethernet(MAC, TAG, &[0; 40])), Err(Spoof::Protocol));
    }

    #[test]
    fn ipv6_sources_and_neighbours() {
        let local = link_local(MAC);
        assert_eq!(local.to_string(), "fe80::16:3eff:fe01:203");
        let none = Ipv6Addr::UNSPECIFIED;
        let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 6);
        let check = |frame: Vec<u8>| guard().check(&frame);
        assert_eq!(check(ip6(IP6, 6, &[0; 20])), Ok(()));
        assert_eq!(check(ip6(local, 17, &[0; 8])), Ok(()));
        assert_eq!(check(ip6(other, 6, &[0; 20])), Err(Spoof::Ip));
        assert_eq!(check(ip6(none, 17, &[0; 8])), Err(Spoof::Ip));
        assert_eq!(check(ip6(IP6, 17, &[2, 35, 2, 34])), Err(Spoof::Role));
        assert_eq!(check(ip6(IP6, 58, &neighbour(135, other, MAC))), Ok(()));
        assert_eq!(check(ip6(none, 58, &neighbour(135, IP6, MAC)[..24])), Ok(()));
        assert_eq!(check(ip6(IP6, 58, &neighbour(135, other, OTHER))), Err(Spoof::Neighbour));
        assert_eq!(check(ip6(IP6, 58, &neighbour(136, IP6, MAC))), Ok(()));
        assert_eq!(check(ip6(IP6, 58, &neighbour(136, other, MAC))), Err(Spoof::Neighbour));
        assert_eq!(check(ip6(local, 58, &[134, 0, 0, 0])), Err(Spoof::Role));
        // Behind a hop-by-hop header, and in a fragment.
        let mut hidden = vec![58, 0, 0, 0, 0, 0, 0, 0];
        hidden.extend(neighbour(136, other, MAC));
        assert_eq!(check(ip6(IP6, 0, &hidden)), Err(Spoof::Neighbour));
        assert_eq!(check(ip6(IP6, 44, &[58, 0, 0, 0])), Err(Spoof::Neighbour));
        // An option of no length would go on for ever.
        let mut endless = neighbour(135, IP6, MAC);
        endless[25] = 0;
        assert_eq!(check(ip6(IP6, 58, &endless)), Err(Spoof::Neighbour));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(frame in proptest::collection::vec(any::<u8>(), 0..HEAD)) {
            let _ = guard().check(&frame);
        }

        #[test]
        fn any_ip_payload_is_judged(
            kind in prop_oneof![Just(ARP), Just(IPV4), Just(IPV6)],
            body in proptest::collection::vec(any::<u8>(), 0..HEAD - 14),
        ) {
            let _ = guard().check(&ethernet(MAC, kind, &body));
        }
    }
}
