// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's core, behind the kernel's device files.

use crate::error::open_action;
use crate::sys::{self, BindArgs, CallArgs, FdArgs, PortArgs};
use crate::{Core, Error, Events, ForeignMap, Reply, buffer_argument};
use hv_abi::{DomainId, Hypercall, Status};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the device files are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Hypercalls.
    pub hypercall: PathBuf,
    /// Events.
    pub event: PathBuf,
    /// Foreign memory.
    pub foreign: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            hypercall: "/dev/hvx/hypercall".into(),
            event: "/dev/hvx/event".into(),
            foreign: "/dev/hvx/foreign".into(),
        }
    }
}

/// The core of this machine.
#[derive(Debug)]
pub struct Device {
    paths: Paths,
    hypercall: OwnedFd,
}

impl Device {
    /// Opens the hypercall device; the others are opened when needed.
    pub fn open(paths: Paths) -> Result<Self, Error> {
        let hypercall = open(&paths.hypercall)?;
        Ok(Self { paths, hypercall })
    }
}

pub(crate) fn open(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::device(open_action(path), e))
}

impl Core for Device {
    fn call(&self, call: Hypercall, buffer: Option<&mut [u8]>) -> Result<Reply, Error> {
        let info = call.info();
        let (nr, arg) = call.encode();
        let mut args = CallArgs {
            nr,
            arg,
            value: 0,
            status: 0,
            buf_arg: sys::NO_BUFFER,
            buf: 0,
            buf_len: 0,
            pad: 0,
        };
        let buffer = buffer.and_then(|bytes| Some((buffer_argument(call)?, bytes)));
        sys::call(self.hypercall.as_fd(), &mut args, buffer)
            .map_err(|e| Error::device(format!("make the hypercall {}", info.name), e))?;
        let status = Status::from_code(args.status.into())
            .ok_or(Error::UnknownStatus { call: info.name, code: args.status })?;
        Ok(Reply { status, value: args.value })
    }

    fn map(&self, domain: DomainId, gpa: u64, len: usize) -> Result<ForeignMap, Error> {
        let file = open(&self.paths.foreign)?;
        sys::foreign_domain(file.as_fd(), domain.into())
            .map_err(|e| Error::device(format!("reach the memory of domain {domain}"), e))?;
        // The mapping holds the open file, so the descriptor may go.
        ForeignMap::of_file(file.as_fd(), gpa, len, None).map_err(|e| {
            Error::device(format!("map {len} bytes at {gpa:#x} of domain {domain}"), e)
        })
    }

    fn events(&self, only: Option<DomainId>) -> Result<Arc<dyn Events>, Error> {
        let file = open(&self.paths.event)?;
        if let Some(domain) = only {
            sys::restrict(file.as_fd(), domain.into())
                .map_err(|e| Error::device(format!("restrict events to domain {domain}"), e))?;
        }
        Ok(Arc::new(EventDevice(file)))
    }
}

/// One open event device.
pub(crate) struct EventDevice(pub(crate) OwnedFd);

impl EventDevice {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Events for EventDevice {
    fn bind(&self, domain: DomainId, remote_port: u32) -> Result<u32, Error> {
        let mut args = BindArgs { domain: domain.into(), remote_port, ..Default::default() };
        sys::bind(self.fd(), &mut args).map_err(|e| {
            Error::device(format!("bind to port {remote_port} of domain {domain}"), e)
        })?;
        Ok(args.port)
    }

    fn virq(&self, virq: u64) -> Result<u32, Error> {
        let mut args = PortArgs { what: virq as u32, port: 0 };
        sys::virq(self.fd(), &mut args)
            .map_err(|e| Error::device(format!("bind to virtual interrupt {virq}"), e))?;
        Ok(args.port)
    }

    fn alloc(&self, domain: DomainId) -> Result<u32, Error> {
        let mut args = PortArgs { what: domain.into(), port: 0 };
        sys::alloc(self.fd(), &mut args)
            .map_err(|e| Error::device(format!("make a port for domain {domain}"), e))?;
        Ok(args.port)
    }

    fn signal(&self, port: u32, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        let fd = eventfd.as_raw_fd();
        sys::eventfd(self.fd(), FdArgs { port, fd })
            .map_err(|e| Error::device(format!("join port {port} with an eventfd"), e))
    }

    fn kick(&self, port: u32, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        let fd = eventfd.as_raw_fd();
        sys::kickfd(self.fd(), FdArgs { port, fd })
            .map_err(|e| Error::device(format!("join an eventfd with port {port}"), e))
    }

    fn send(&self, port: u32) -> Result<(), Error> {
        sys::send(self.fd(), port).map_err(|e| Error::device(format!("send port {port}"), e))
    }

    fn close(&self, port: u32) -> Result<(), Error> {
        sys::close(self.fd(), port).map_err(|e| Error::device(format!("close port {port}"), e))
    }
}
