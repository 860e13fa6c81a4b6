// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DHCP server's logic (RFC 2131): one message in, at most one out.
//!
//! ```text
//! fn answer(lan: &Lan, message: &[u8]) -> Option<(Vec<u8>, SocketAddrV4)>
//! ```
//!
//! Addresses are fixed by the daemon, so there is no state: whoever asks gets
//! the address of its Ethernet address, or no answer. The formats are
//! `smoltcp`'s.

use super::{Host, Lan};
use smoltcp::wire::{DhcpMessageType as Kind, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Port of servers.
pub const SERVER_PORT: u16 = 67;
/// Port of clients.
pub const CLIENT_PORT: u16 = 68;
/// How long an address may be used without asking again, in seconds.
const LEASE: u32 = 3600;
/// Options that the library does not name (RFC 2132).
const HOST_NAME: u8 = 12;
const INTERFACE_MTU: u8 = 26;
const BROADCAST: u8 = 28;
/// The shortest message that every client takes (RFC 1542, 2.1).
const LEN_MIN: usize = 300;

/// See the module.
pub fn answer(lan: &Lan, message: &[u8]) -> Option<(Vec<u8>, SocketAddrV4)> {
    let packet = DhcpPacket::new_checked(message).ok()?;
    let request = DhcpRepr::parse(&packet).ok()?;
    // There are no relays on a bridge.
    if !request.relay_agent_ip.is_unspecified() {
        return None;
    }
    let EthernetAddress(mac) = request.client_hardware_address;
    let host = lan.hosts.iter().find(|host| host.mac == mac)?;
    let kind = decide(lan, host, &request)?;
    let (good, informed) = (kind != Kind::Nak, request.message_type == Kind::Inform);
    let (mtu, broadcast) = (lan.mtu.to_be_bytes(), lan.broadcast().octets());
    let all = [
        DhcpOption { kind: BROADCAST, data: &broadcast },
        DhcpOption { kind: INTERFACE_MTU, data: &mtu },
        DhcpOption { kind: HOST_NAME, data: host.name.as_bytes() },
    ];
    let none = Ipv4Addr::UNSPECIFIED;
    let reply = DhcpRepr {
        message_type: kind,
        client_ip: if good { request.client_ip } else { none },
        your_ip: if good && !informed { host.address } else { none },
        server_ip: if good { lan.router } else { none },
        router: good.then_some(lan.router),
        subnet_mask: good.then_some(lan.mask()),
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(lan.router),
        parameter_request_list: None,
        dns_servers: good.then(|| [lan.router].into_iter().collect()),
        max_size: None,
        lease_duration: (good && !informed).then_some(LEASE),
        additional_options: if good { &all } else { &[] },
        ..request
    };
    let mut bytes = vec![0; reply.buffer_len().max(LEN_MIN)];
    reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
    // A client that has no address yet hears broadcasts (RFC 2131, 4.1).
    let to = match request.client_ip {
        address if good && address == host.address => address,
        _ => Ipv4Addr::BROADCAST,
    };
    Some((bytes, SocketAddrV4::new(to, CLIENT_PORT)))
}

/// What kind of answer a message gets.
fn decide(lan: &Lan, host: &Host, request: &DhcpRepr<'_>) -> Option<Kind> {
    match request.message_type {
        Kind::Discover => Some(Kind::Offer),
        Kind::Inform => Some(Kind::Ack),
        Kind::Request => {
            if request.server_identifier.is_some_and(|server| server != lan.router) {
                return None;
            }
            let wanted = request.requested_ip.unwrap_or(request.client_ip);
            Some(if wanted == host.address { Kind::Ack } else { Kind::Nak })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0x16, 0x3e, 0, 0, 7];
    const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    fn lan() -> Lan {
        let host = Host { mac: MAC, address: [10, 7, 0, 7].into(), name: "web".into() };
        Lan {
            interface: "hvnat0".into(),
            router: [10, 7, 0, 1].into(),
            prefix: 24,
            mtu: 1500,
            uid: 0,
            hosts: vec![host],
        }
    }

    fn message(message_type: Kind, mac: [u8; 6]) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type,
            transaction_id: 0x1234_5678,
            secs: 0,
            client_hardware_address: EthernetAddress(mac),
            client_ip: NONE,
            your_ip: NONE,
            server_ip: NONE,
            router: None,
            subnet_mask: None,
            relay_agent_ip: NONE,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn bytes(message: &DhcpRepr<'_>) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        bytes
    }

    /// The answer's bytes and where they go.
    fn ask(message: &DhcpRepr<'_>) -> Option<(Vec<u8>, SocketAddrV4)> {
        answer(&lan(), &bytes(message))
    }

    #[test]
    fn a_client_gets_its_address() {
        let (offer, to) = ask(&message(Kind::Discover, MAC)).unwrap();
        let packet = DhcpPacket::new_checked(&offer[..]).unwrap();
        let offer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(offer.message_type, Kind::Offer);
        assert_eq!((offer.transaction_id, offer.your_ip), (0x1234_5678, [10, 7, 0, 7].into()));
        assert_eq!(to, "255.255.255.255:68".parse().unwrap());
        let mut request = message(Kind::Request, MAC);
        request.requested_ip = Some([10, 7, 0, 7].into());
        request.server_identifier = Some([10, 7, 0, 1].into());
        let (ack, _) = ask(&request).unwrap();
        let packet = DhcpPacket::new_checked(&ack[..]).unwrap();
        let ack = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(ack.message_type, Kind::Ack);
        assert_eq!(ack.subnet_mask, Some([255, 255, 255, 0].into()));
        assert_eq!(ack.router, Some([10, 7, 0, 1].into()));
        assert_eq!(ack.dns_servers.unwrap()[..], [Ipv4Addr::from([10, 7, 0, 1])]);
        assert_eq!(ack.lease_duration, Some(LEASE));
        let mtu = packet.options().find(|option| option.kind == INTERFACE_MTU);
        assert_eq!(mtu.map(|option| option.data), Some(&[5, 220][..]));
    }

    #[test]
    fn a_renewal_is_answered_directly() {
        let mut renew = message(Kind::Request, MAC);
        renew.client_ip = [10, 7, 0, 7].into();
        let (_, to) = ask(&renew).unwrap();
        assert_eq!(to, "10.7.0.7:68".parse().unwrap());
    }

    #[test]
    fn another_address_is_refused_and_others_are_not_served() {
        let mut wrong = message(Kind::Request, MAC);
        wrong.requested_ip = Some([10, 7, 0, 8].into());
        let (nak, to) = ask(&wrong).unwrap();
        let packet = DhcpPacket::new_checked(&nak[..]).unwrap();
        let nak = DhcpRepr::parse(&packet).unwrap();
        assert_eq!((nak.message_type, nak.your_ip), (Kind::Nak, NONE));
        assert!(to.ip().is_broadcast());
        assert!(ask(&message(Kind::Discover, [9; 6])).is_none());
        wrong.server_identifier = Some([10, 7, 0, 2].into());
        assert!(ask(&wrong).is_none());
        assert!(ask(&message(Kind::Release, MAC)).is_none());
    }

    #[test]
    fn relays_and_replies_are_not_for_us() {
        let mut relayed = message(Kind::Discover, MAC);
        relayed.relay_agent_ip = [10, 7, 0, 9].into();
        assert!(ask(&relayed).is_none());
        assert!(ask(&message(Kind::Offer, MAC)).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer(&lan(), &bytes);
        }

        #[test]
        fn a_damaged_message_is_survived(
            place in 0usize..260, value: u8, tail in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = bytes(&message(Kind::Discover, MAC));
            bytes.extend(tail);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
            let _ = answer(&lan(), &bytes);
        }
    }
}
