// SPDX-License-Identifier: MIT OR Apache-2.0
//! A DNS forwarder: what guests ask goes to the control domain's own name
//! servers, what those answer goes back. Messages are not understood beyond
//! their first bytes.
//!
//! Each query has a socket of its own, connected to the server, so that the
//! kernel lets only that server's answer in, on a port nobody can guess; a
//! guest has at most [`PER_GUEST`] queries under way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Port of name servers.
pub const PORT: u16 = 53;
/// Queries of all guests under way.
const ALL: usize = 256;
/// Queries of one guest under way.
pub const PER_GUEST: usize = 16;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(6);
/// The largest message by UDP that is passed on.
pub const LEN_MAX: usize = 4096;
/// A header (RFC 1035, 4.1.1).
const LEN_MIN: usize = 12;

/// A query under way.
pub struct Query {
    /// Readable when the answer is there.
    pub socket: UdpSocket,
    guest: SocketAddr,
    id: [u8; 2],
    since: Instant,
}

/// All of them.
#[derive(Default)]
pub struct Forwarder {
    queries: Vec<Query>,
}

/// Name servers of a resolv.conf: the first is asked.
pub fn servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let server = words.next() == Some("nameserver");
        words.next().filter(|_| server)?.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(address).map(|ip| SocketAddr::new(ip, PORT)).collect()
}

/// Whether bytes could be a query: a header without the answer's bit.
fn is_query(message: &[u8]) -> bool {
    message.len() >= LEN_MIN && message.len() <= LEN_MAX && message[2] & 0x80 == 0
}

/// An answer that says that the server failed (RFC 1035, 4.1.1).
pub fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.get(..LEN_MIN).filter(|_| is_query(query))?;
    let mut answer = header.to_vec();
    answer[2] = 0x80 | header[2] & 0x79;
    answer[3] = 0x80 | 2;
    answer[4..].fill(0);
    Some(answer)
}

impl Forwarder {
    /// The queries under way.
    pub fn queries(&self) -> &[Query] {
        &self.queries
    }

    /// Passes a guest's query on; whether it was.
    pub fn ask(&mut self, query: &[u8], guest: SocketAddr, server: SocketAddr) -> io::Result<bool> {
        self.queries.retain(|q| q.since.elapsed() < PATIENCE);
        let own = self.queries.iter().filter(|q| q.guest.ip() == guest.ip()).count();
        if !is_query(query) || own >= PER_GUEST || self.queries.len() >= ALL {
            return Ok(false);
        }
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        socket.send(query)?;
        let id = [query[0], query[1]];
        self.queries.push(Query { socket, guest, id, since: Instant::now() });
        Ok(true)
    }

    /// Takes the answers that came: whom for, and the bytes.
    pub fn answers(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut answers = Vec::new();
        self.queries.retain(|query| {
            let mut bytes = [0; LEN_MAX];
            match query.socket.recv(&mut bytes) {
                Ok(len) if len >= LEN_MIN && bytes[..2] == query.id && bytes[2] & 0x80 != 0 => {
                    answers.push((query.guest, bytes[..len].to_vec()));
                    false
                }
                // Not an answer to this: wait on.
                Ok(_) => query.since.elapsed() < PATIENCE,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => query.since.elapsed() < PATIENCE,
                // Nobody listens there: the guest may hear of it by time-out.
                Err(_) => false,
            }
        });
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(id: u16) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'w', b'w', b'w', 0, 0, 1, 0, 1]);
        bytes
    }

    #[test]
    fn resolv_conf_is_read() {
        let text = "# x\nsearch a.b\nnameserver 10.0.2.3\nnameserver ::1\nnameserver nonsense\n";
        let found = servers(text);
        assert_eq!(found, ["10.0.2.3:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }

    #[test]
    fn a_query_goes_there_and_back() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let guest: SocketAddr = "10.7.0.7:5000".parse().unwrap();
        let mut forwarder = Forwarder::default();
        let asked = forwarder.ask(&query(77), guest, server.local_addr().unwrap()).unwrap();
        assert!(asked && forwarder.answers().is_empty());
        let mut bytes = [0; 512];
        let (len, from) = server.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], query(77));
        // A wrong id is not an answer.
        bytes[2] |= 0x80;
        bytes[1] ^= 1;
        server.send_to(&bytes[..len], from).unwrap();
        bytes[1] ^= 1;
        server.send_to(&bytes[..len], from).unwrap();
        let mut answers = Vec::new();
        let end = Instant::now() + PATIENCE;
        while answers.is_empty() && Instant::now() < end {
            answers = forwarder.answers();
        }
        assert_eq!(answers, [(guest, bytes[..len].to_vec())]);
        assert!(forwarder.queries().is_empty());
    }

    #[test]
    fn one_guest_cant_take_all() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut forwarder = Forwarder::default();
        for port in 0..PER_GUEST as u16 {
            let guest = (Ipv4Addr::new(10, 7, 0, 7), 1000 + port).into();
            assert!(forwarder.ask(&query(port), guest, server).unwrap());
        }
        let guest = (Ipv4Addr::new(10, 7, 0, 7), 5000).into();
        assert!(!forwarder.ask(&query(99), guest, server).unwrap());
        let other = (Ipv4Addr::new(10, 7, 0, 8), 5000).into();
        assert!(forwarder.ask(&query(99), other, server).unwrap());
        for nonsense in [&query(1)[..11], &[0xff; 40], &[0; LEN_MAX + 1]] {
            assert!(!forwarder.ask(nonsense, other, server).unwrap());
        }
    }

    #[test]
    fn a_failure_echoes_the_query() {
        let answer = failure(&query(77)).unwrap();
        assert_eq!(answer, [0, 77, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(failure(&[0; 4]), None);
    }
}
