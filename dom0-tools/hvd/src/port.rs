// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for an event port in tokio.
//!
//! A port's eventfd is read as a pipe: for epoll and read(2) the two are alike,
//! and tokio's pipe takes any owned descriptor, where its general `AsyncFd`
//! would want an unsafe promise.

use hv_client::EventPort;
use std::io;
use std::os::fd::AsFd;
use tokio::net::unix::pipe::Receiver;

/// An event port and its readiness.
pub struct AsyncPort {
    port: EventPort,
    ready: Receiver,
}

impl AsyncPort {
    /// Registers a port with the runtime.
    pub fn new(port: EventPort) -> io::Result<Self> {
        let fd = port.as_fd().try_clone_to_owned()?;
        let ready = Receiver::from_owned_fd_unchecked(fd)?;
        Ok(Self { port, ready })
    }

    /// Waits for an event and takes it, with all that came before. Nothing is
    /// lost when the future is dropped.
    pub async fn event(&self) -> io::Result<()> {
        loop {
            self.ready.readable().await?;
            match self.ready.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The port itself.
    pub fn port(&self) -> &EventPort {
        &self.port
    }
}
