// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fake core's ports and its event device.

use super::FakeCore;
use super::state::{Peer, Port, State};
use crate::{Error, Events};
use hv_abi::{DOM_CONTROL, DomainId};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

impl State {
    pub fn new_port(&mut self, owner: DomainId, peer: Peer) -> Option<u32> {
        let ports = &mut self.domains.get_mut(&owner)?.ports;
        let number = (1..1024).find(|n| !ports.contains_key(n))?;
        let eventfd = None;
        ports.insert(number, Port { peer, eventfd });
        Some(number)
    }

    /// Joins a port that was made for the control domain.
    fn bind(&mut self, domain: DomainId, remote_port: u32) -> Option<u32> {
        let theirs = self.domains.get(&domain)?.ports.get(&remote_port)?;
        let remote = DOM_CONTROL;
        if theirs.peer != (Peer::Unbound { remote }) {
            return None;
        }
        let peer = Peer::Joined { remote: domain, port: remote_port };
        let port = self.new_port(DOM_CONTROL, peer)?;
        if let Some(d) = self.domains.get_mut(&domain)
            && let Some(theirs) = d.ports.get_mut(&remote_port)
        {
            theirs.peer = Peer::Joined { remote, port };
        }
        Some(port)
    }

    /// Frees a port; its peer waits for another partner.
    pub fn close_port(&mut self, owner: DomainId, port: u32) {
        let closed = self.domains.get_mut(&owner).and_then(|d| d.ports.remove(&port));
        if let Some(Port { peer: Peer::Joined { remote, port }, .. }) = closed
            && let Some(d) = self.domains.get_mut(&remote)
            && let Some(theirs) = d.ports.get_mut(&port)
        {
            theirs.peer = Peer::Unbound { remote: owner };
        }
    }

    /// Raises the peer of a port.
    pub fn send(&mut self, owner: DomainId, port: u32) {
        let peer = self.domains.get(&owner).and_then(|d| d.ports.get(&port)).map(|p| p.peer);
        if let Some(Peer::Joined { remote, port }) = peer
            && let Some(d) = self.domains.get(&remote)
            && let Some(theirs) = d.ports.get(&port)
        {
            signal(theirs);
        }
    }

    pub fn raise_virq(&self, virq: u64) {
        for port in self.domains.get(&DOM_CONTROL).iter().flat_map(|d| d.ports.values()) {
            if port.peer == Peer::Virq(virq) {
                signal(port);
            }
        }
    }
}

fn signal(port: &Port) {
    if let Some(fd) = &port.eventfd {
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }
}

/// A set of ports of the control domain; closes them when dropped.
pub(super) struct FakeEvents {
    core: FakeCore,
    only: Option<DomainId>,
    mine: Mutex<Vec<u32>>,
}

impl FakeEvents {
    pub fn new(core: FakeCore, only: Option<DomainId>) -> Self {
        let mine = Mutex::default();
        Self { core, only, mine }
    }

    fn make(
        &self,
        action: String,
        make: impl FnOnce(&mut State) -> Option<u32>,
    ) -> Result<u32, Error> {
        let mut state = self.core.state();
        if state.injected() {
            return Err(Error::device(action, Errno::NOSPC));
        }
        let port = make(&mut state).ok_or_else(|| Error::device(action, Errno::NOENT))?;
        self.mine().push(port);
        Ok(port)
    }

    fn mine(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events for FakeEvents {
    fn bind(&self, domain: DomainId, remote_port: u32) -> Result<u32, Error> {
        let action = format!("bind to port {remote_port} of domain {domain}");
        if self.only.is_some_and(|only| only != domain) {
            return Err(Error::device(action, Errno::PERM));
        }
        self.make(action, |state| state.bind(domain, remote_port))
    }

    fn virq(&self, virq: u64) -> Result<u32, Error> {
        self.make(format!("bind to virtual interrupt {virq}"), |state| {
            state.new_port(DOM_CONTROL, Peer::Virq(virq))
        })
    }

    fn alloc(&self, domain: DomainId) -> Result<u32, Error> {
        self.make(format!("make a port for domain {domain}"), |state| {
            state.new_port(DOM_CONTROL, Peer::Unbound { remote: domain })
        })
    }

    fn signal(&self, port: u32, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        let action = format!("join port {port} with an eventfd");
        let mut state = self.core.state();
        if state.injected() {
            return Err(Error::device(action, Errno::NOMEM));
        }
        let found = state.domains.get_mut(&DOM_CONTROL).and_then(|d| d.ports.get_mut(&port));
        match (found, eventfd.try_clone_to_owned()) {
            (Some(found), Ok(fd)) => {
                found.eventfd = Some(fd);
                Ok(())
            }
            _ => Err(Error::device(action, Errno::NOENT)),
        }
    }

    fn kick(&self, port: u32, _: BorrowedFd<'_>) -> Result<(), Error> {
        // Nothing in the fake waits for eventfds.
        let action = format!("join an eventfd with port {port}");
        Err(Error::device(action, Errno::OPNOTSUPP))
    }

    fn send(&self, port: u32) -> Result<(), Error> {
        self.core.state().send(DOM_CONTROL, port);
        Ok(())
    }

    fn close(&self, port: u32) -> Result<(), Error> {
        self.mine().retain(|p| *p != port);
        self.core.state().close_port(DOM_CONTROL, port);
        Ok(())
    }
}

impl Drop for FakeEvents {
    fn drop(&mut self) {
        let mine = std::mem::take(&mut *self.mine());
        let mut state = self.core.state();
        for port in mine {
            state.close_port(DOM_CONTROL, port);
        }
    }
}
