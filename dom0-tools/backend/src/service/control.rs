// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control socket: lines of JSON, a few clients, none of which can hold the
//! backend up: what a client does not read in time costs it its connection.

use crate::Error;
use rustix::net::SocketFlags;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Clients at a time.
const CLIENTS_MAX: usize = 8;
/// Bytes of a request.
const LINE_MAX: usize = 64 * 1024;

struct Client {
    number: u64,
    stream: UnixStream,
    line: Vec<u8>,
}

/// See the module.
pub struct Control {
    listener: UnixListener,
    clients: Vec<Client>,
    next: u64,
    /// What each new client is told first.
    greeting: Option<Value>,
}

fn send(stream: &mut UnixStream, message: &Value) -> bool {
    let mut text = message.to_string();
    text.push('\n');
    matches!(stream.write(text.as_bytes()), Ok(n) if n == text.len())
}

impl Control {
    /// Listens at a path; a file that a predecessor left there is replaced.
    pub fn listen(path: &Path) -> Result<Self, Error> {
        let no = |e| Error::system(format!("listen at {}", path.display()), e);
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(no)?;
        listener.set_nonblocking(true).map_err(no)?;
        Ok(Self { listener, clients: Vec::new(), next: 0, greeting: None })
    }

    /// Everything to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let clients = self.clients.iter().map(|client| client.stream.as_fd());
        std::iter::once(self.listener.as_fd()).chain(clients)
    }

    /// Requests that have come, each with the number of its client.
    pub fn requests(&mut self) -> Vec<(u64, Value)> {
        self.accept();
        let mut requests = Vec::new();
        self.clients.retain_mut(|client| {
            let open = client.receive();
            while let Some(end) = client.line.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = client.line.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(request) => requests.push((client.number, request)),
                    Err(_) => return false,
                }
            }
            open && client.line.len() < LINE_MAX
        });
        requests
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(fd) = rustix::net::accept_with(&self.listener, flags) {
            let mut stream = UnixStream::from(fd);
            let greeted = match &self.greeting {
                Some(greeting) => send(&mut stream, greeting),
                None => true,
            };
            if self.clients.len() < CLIENTS_MAX && greeted {
                self.next += 1;
                self.clients.push(Client { number: self.next, stream, line: Vec::new() });
            }
        }
    }

    /// Answers one client.
    pub fn answer(&mut self, number: u64, message: &Value) {
        self.clients.retain_mut(|c| c.number != number || send(&mut c.stream, message));
    }

    /// Tells every client, now.
    pub fn tell(&mut self, message: &Value) {
        self.clients.retain_mut(|c| send(&mut c.stream, message));
    }

    /// Tells every client, now and when it comes.
    pub fn announce(&mut self, message: Value) {
        self.tell(&message);
        self.greeting = Some(message);
    }
}

impl Client {
    /// Reads what is there; whether more can come.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 4096];
        while self.line.len() < LINE_MAX {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(n) => self.line.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }
}
