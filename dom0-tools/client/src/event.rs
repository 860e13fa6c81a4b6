// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event ports of the control domain, as eventfds.

use crate::{Core, Error};
use hv_abi::DomainId;
use rustix::event::EventfdFlags;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// A set of ports: one open event device. Dropping it closes them all.
pub trait Events: Send + Sync {
    /// Makes a port joined with `remote_port` of `domain`.
    fn bind(&self, domain: DomainId, remote_port: u32) -> Result<u32, Error>;
    /// Makes a port for a virtual interrupt (`hv_abi::event::virq`).
    fn virq(&self, virq: u64) -> Result<u32, Error>;
    /// Makes a port that `domain` may bind to.
    fn alloc(&self, domain: DomainId) -> Result<u32, Error>;
    /// Has an eventfd signalled at each event of the port.
    fn signal(&self, port: u32, eventfd: BorrowedFd<'_>) -> Result<(), Error>;
    /// Has the port sent at each write to an eventfd.
    fn kick(&self, port: u32, eventfd: BorrowedFd<'_>) -> Result<(), Error>;
    /// Raises the peer.
    fn send(&self, port: u32) -> Result<(), Error>;
    /// Frees the port.
    fn close(&self, port: u32) -> Result<(), Error>;
}

/// One port with an eventfd that is readable while an event waits; closed when
/// dropped.
pub struct EventPort {
    events: Arc<dyn Events>,
    port: u32,
    eventfd: OwnedFd,
}

impl EventPort {
    /// Joins a port of `domain` that was made for us, through a set that can
    /// reach nothing but this domain.
    pub fn bind(core: &dyn Core, domain: DomainId, remote_port: u32) -> Result<Self, Error> {
        Self::made(core.events(Some(domain))?, |events| events.bind(domain, remote_port))
    }

    /// Listens to a virtual interrupt.
    pub fn virq(core: &dyn Core, virq: u64) -> Result<Self, Error> {
        Self::made(core.events(None)?, |events| events.virq(virq))
    }

    /// Joins a port of `domain` through a set that others use as well, and has
    /// a given eventfd signalled.
    pub fn join(
        events: &Arc<dyn Events>,
        domain: DomainId,
        remote_port: u32,
        eventfd: OwnedFd,
    ) -> Result<Self, Error> {
        let port = events.bind(domain, remote_port)?;
        let this = Self { events: events.clone(), port, eventfd };
        this.events.signal(port, this.eventfd.as_fd())?;
        Ok(this)
    }

    fn made(
        events: Arc<dyn Events>,
        make: impl FnOnce(&dyn Events) -> Result<u32, Error>,
    ) -> Result<Self, Error> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::device("make an eventfd", e))?;
        let port = make(&*events)?;
        // From here on `drop` closes the port.
        let this = Self { events, port, eventfd };
        this.events.signal(port, this.eventfd.as_fd())?;
        Ok(this)
    }

    /// Our port number.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Raises the peer.
    pub fn send(&self) -> Result<(), Error> {
        self.events.send(self.port)
    }

    /// Takes the events that came; whether there were any.
    pub fn take(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.eventfd, &mut count).is_ok()
    }
}

impl AsFd for EventPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl AsRawFd for EventPort {
    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

impl Drop for EventPort {
    fn drop(&mut self) {
        // A port that the core has closed already (the peer is gone) is no
        // concern; the set's own drop closes what would be left.
        let _ = self.events.close(self.port);
    }
}

impl std::fmt::Debug for EventPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventPort({})", self.port)
    }
}
