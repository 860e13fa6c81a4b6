// SPDX-License-Identifier: MIT OR Apache-2.0
//! The doors as a backend gets them: events and memory of one domain, and no
//! hypercalls. They are opened and restricted while the process has the right
//! to, and stay what they are when it has none left.

use crate::device::open;
use crate::{Core, Error, Events, ForeignMap, Paths, Reply, device, sys};
use hv_abi::{DomainId, Hypercall};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Doors {
    domain: DomainId,
    event: OwnedFd,
    foreign: OwnedFd,
}

impl Doors {
    /// Opens both files and restricts them to a domain for good.
    pub fn open(paths: &Paths, domain: DomainId) -> Result<Self, Error> {
        let event = open(&paths.event)?;
        sys::restrict(event.as_fd(), domain.into())
            .map_err(|e| Error::device(format!("restrict events to domain {domain}"), e))?;
        let foreign = open(&paths.foreign)?;
        sys::foreign_domain(foreign.as_fd(), domain.into())
            .map_err(|e| Error::device(format!("reach the memory of domain {domain}"), e))?;
        Ok(Self { domain, event, foreign })
    }

    fn check(&self, domain: DomainId, action: &str) -> Result<(), Error> {
        if domain == self.domain {
            return Ok(());
        }
        Err(Error::device(format!("{action} domain {domain}"), rustix::io::Errno::PERM))
    }
}

impl Core for Doors {
    fn call(&self, call: Hypercall, _: Option<&mut [u8]>) -> Result<Reply, Error> {
        let action = format!("make the hypercall {}", call.info().name);
        Err(Error::device(action, rustix::io::Errno::PERM))
    }

    fn map(&self, domain: DomainId, gpa: u64, len: usize) -> Result<ForeignMap, Error> {
        self.check(domain, "map memory of")?;
        ForeignMap::of_file(self.foreign.as_fd(), gpa, len, None).map_err(|e| {
            Error::device(format!("map {len} bytes at {gpa:#x} of domain {domain}"), e)
        })
    }

    fn events(&self, only: Option<DomainId>) -> Result<Arc<dyn Events>, Error> {
        self.check(only.unwrap_or(self.domain), "exchange events with")?;
        let file = self.event.try_clone().map_err(|e| Error::device("share the event file", e))?;
        Ok(Arc::new(device::EventDevice(file)))
    }
}
