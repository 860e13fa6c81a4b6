// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hv-nat FILE`: DHCP and DNS for the NAT network that a file of the daemon's
//! describes ([`hv_net::nat::Lan`]). The file is read again when it changes.
//!
//! It binds its ports on the network's bridge only, then becomes the user it is
//! told to, without capabilities. It makes sockets for queries all the time,
//! so its system calls are not listed as a backend's are.

#![forbid(unsafe_code)]

use hv_net::nat::{Lan, dhcp, dns};
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Messages taken before the others get a turn.
const BATCH: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [file] = &arguments[..] else {
        eprintln!("usage: hv-nat FILE; hvd starts it for a NAT network");
        return ExitCode::from(2);
    };
    match serve(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{}: {e}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// A file that others change, as it was last time it made sense.
struct Watched<T> {
    path: PathBuf,
    read: fn(&[u8]) -> Option<T>,
    seen: Option<SystemTime>,
    value: T,
}

impl<T> Watched<T> {
    fn look(&mut self) {
        let changed = std::fs::metadata(&self.path).and_then(|m| m.modified()).ok();
        if changed.is_none() || changed == self.seen {
            return;
        }
        if let Some(value) = std::fs::read(&self.path).ok().and_then(|bytes| (self.read)(&bytes)) {
            (self.value, self.seen) = (value, changed);
        }
    }
}

fn socket(lan: &Lan, address: Ipv4Addr, port: u16) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(lan.interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((address, port)).into())?;
    Ok(socket.into())
}

fn serve(file: &Path) -> std::io::Result<()> {
    // The daemon starts another when it comes back.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    let read = |bytes: &[u8]| serde_json::from_slice::<Lan>(bytes).ok();
    let first = read(&std::fs::read(file)?)
        .ok_or_else(|| std::io::Error::other("it does not describe a network"))?;
    let dhcp = socket(&first, Ipv4Addr::UNSPECIFIED, dhcp::SERVER_PORT)?;
    let dns = socket(&first, first.router, dns::PORT)?;
    hv_backend::confine::become_user(first.uid).map_err(std::io::Error::other)?;
    let mut lan = Watched { path: file.into(), read, seen: None, value: first };
    let mut servers = Watched {
        path: "/etc/resolv.conf".into(),
        read: |bytes| Some(dns::servers(&String::from_utf8_lossy(bytes))),
        seen: None,
        value: Vec::new(),
    };
    let mut forwarder = dns::Forwarder::default();
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            lan.look();
            servers.look();
            looked = Some(Instant::now());
        }
        serve_dhcp(&dhcp, &mut lan);
        serve_dns(&dns, &mut forwarder, servers.value.first().copied());
        wait(&dhcp, &dns, &forwarder)?;
    }
}

fn serve_dhcp(socket: &UdpSocket, lan: &mut Watched<Lan>) {
    let mut bytes = [0; 2048];
    for _ in 0..BATCH {
        let Ok((len, _)) = socket.recv_from(&mut bytes) else { return };
        // A card that was attached this moment asks at once.
        lan.look();
        if let Some((answer, to)) = dhcp::answer(&lan.value, &bytes[..len]) {
            let to: SocketAddrV4 = to;
            if let Err(e) = socket.send_to(&answer, to) {
                eprintln!("an answer to {to} is lost: {e}");
            }
        }
    }
}

fn serve_dns(socket: &UdpSocket, forwarder: &mut dns::Forwarder, server: Option<SocketAddr>) {
    let mut bytes = [0; dns::LEN_MAX];
    for _ in 0..BATCH {
        let Ok((len, guest)) = socket.recv_from(&mut bytes) else { break };
        let passed = match server {
            Some(server) => forwarder.ask(&bytes[..len], guest, server),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        // A guest that asks too much hears nothing; one that can't be served
        // hears so at once.
        if passed.is_err()
            && let Some(answer) = dns::failure(&bytes[..len])
        {
            let _ = socket.send_to(&answer, guest);
        }
    }
    for (guest, answer) in forwarder.answers() {
        let _ = socket.send_to(&answer, guest);
    }
}

fn wait(dhcp: &UdpSocket, dns: &UdpSocket, forwarder: &dns::Forwarder) -> std::io::Result<()> {
    let queries = forwarder.queries().iter().map(|query| &query.socket);
    let sockets = [dhcp, dns].into_iter().chain(queries);
    let mut fds: Vec<_> = sockets.map(|s| PollFd::new(s, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: LOOK.as_secs() as i64, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
