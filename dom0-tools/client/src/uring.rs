// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring as safe calls: reads and writes between files and a guest's memory
//! without a copy, or buffers of our own; flushes, holes, eventfds, timeouts.
//!
//! ```text
//! engine.read(&file, Buffer::Guest(&ranges), offset, token)?;   // queued
//! engine.wait(&mut done)?;           // submitted, and at least one has ended
//! ```
//!
//! UNSAFETY: the kernel reads and writes memory that a submission names, until
//! its completion. Soundness: everything a submission names is owned by its
//! [`Op`], at an address that does not move, until the completion has been
//! reaped: the file, the vector of ranges, the bytes, and the guest's memory by
//! a counted reference, within whose mappings each range was checked. Dropping
//! an [`Engine`] cancels what can be cancelled and waits for the rest; if even
//! that fails, the `Op`s are leaked. The guest's memory is only ever pointed to.

use crate::{Error, GuestMemory};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The most ranges of one read or write (`UIO_MAXIOV`).
pub const RANGES_MAX: usize = 1024;

/// A piece of a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub len: u32,
}

/// What is read into or written from.
pub enum Buffer<'a> {
    /// A guest's memory.
    Guest(&'a [Range]),
    /// Bytes of our own; [`Done::bytes`] gives them back.
    Own(Vec<u8>),
}

/// An operation that ended.
#[derive(Debug)]
pub struct Done {
    /// As given.
    pub token: u64,
    /// Bytes, or an error's number.
    pub result: Result<u32, Errno>,
    /// Bytes of our own that were lent.
    pub bytes: Option<Vec<u8>>,
}

#[repr(C)]
struct IoVec {
    base: *mut c_void,
    len: usize,
}

// SAFETY: an address for the kernel, of no use to a thread.
unsafe impl Send for IoVec {}

/// What the kernel may look at or write to until the operation is done.
enum Payload {
    None,
    Guest(#[allow(dead_code, reason = "kept, not read")] Vec<IoVec>),
    Own(Vec<u8>),
    Count(#[allow(dead_code, reason = "kept, not read")] Box<[u8; 8]>),
    Time(#[allow(dead_code, reason = "kept, not read")] Box<types::Timespec>),
}

/// An operation of the kernel's; see the module.
struct Op {
    token: u64,
    payload: Payload,
    _file: Option<Arc<OwnedFd>>,
}

/// See the module.
pub struct Engine {
    ring: IoUring,
    memory: GuestMemory,
    ops: Vec<Option<Op>>,
    free: Vec<usize>,
}

const CANCEL: u64 = u64::MAX;

impl Engine {
    /// An engine for `entries` submissions at a time. The thread that makes it
    /// must be the one that uses it.
    pub fn new(memory: GuestMemory, entries: u32) -> Result<Self, Error> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        let ring = builder
            .build(entries)
            // Kernels before 6.1 know neither.
            .or_else(|_| IoUring::new(entries))
            .map_err(|e| Error::device("set up io_uring", e))?;
        let (ops, free) = (Vec::new(), Vec::new());
        Ok(Self { ring, memory, ops, free })
    }

    /// Operations that are not done.
    pub fn in_flight(&self) -> usize {
        self.ops.len() - self.free.len()
    }

    /// Reads from a file.
    pub fn read(
        &mut self,
        file: &Arc<OwnedFd>,
        buffer: Buffer<'_>,
        offset: u64,
        token: u64,
    ) -> io::Result<()> {
        self.transfer(file, buffer, offset, token, false)
    }

    /// Writes to a file.
    pub fn write(
        &mut self,
        file: &Arc<OwnedFd>,
        buffer: Buffer<'_>,
        offset: u64,
        token: u64,
    ) -> io::Result<()> {
        self.transfer(file, buffer, offset, token, true)
    }

    fn transfer(
        &mut self,
        file: &Arc<OwnedFd>,
        buffer: Buffer<'_>,
        offset: u64,
        token: u64,
        write: bool,
    ) -> io::Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        let (payload, entry) = match buffer {
            Buffer::Guest(ranges) => {
                let vector = self.vector(ranges)?;
                let entry = match (&*vector, write) {
                    ([one], false) => opcode::Read::new(fd, one.base.cast(), one.len as u32)
                        .offset(offset)
                        .build(),
                    ([one], true) => opcode::Write::new(fd, one.base.cast(), one.len as u32)
                        .offset(offset)
                        .build(),
                    (many, false) => {
                        let (at, n) = (many.as_ptr().cast(), many.len() as u32);
                        opcode::Readv::new(fd, at, n).offset(offset).build()
                    }
                    (many, true) => {
                        let (at, n) = (many.as_ptr().cast(), many.len() as u32);
                        opcode::Writev::new(fd, at, n).offset(offset).build()
                    }
                };
                (Payload::Guest(vector), entry)
            }
            Buffer::Own(mut bytes) => {
                let (at, n) = (bytes.as_mut_ptr(), bytes.len() as u32);
                let entry = match write {
                    false => opcode::Read::new(fd, at, n).offset(offset).build(),
                    true => opcode::Write::new(fd, at, n).offset(offset).build(),
                };
                (Payload::Own(bytes), entry)
            }
        };
        self.push(Some(file), payload, token, entry)
    }

    /// The ranges as the kernel wants them; each must be within the memory.
    fn vector(&self, ranges: &[Range]) -> io::Result<Vec<IoVec>> {
        if ranges.is_empty() || ranges.len() > RANGES_MAX {
            return Err(Errno::INVAL.into());
        }
        let mut vector: Vec<IoVec> = Vec::with_capacity(ranges.len());
        for range in ranges {
            let len = range.len as usize;
            let at = self.memory.pointer(range.gpa, len).ok_or(Errno::FAULT)?;
            match vector.last_mut() {
                // Neighbours in the mapping are one piece for the kernel.
                Some(last) if last.base as usize + last.len == at.as_ptr() as usize => {
                    last.len += len;
                }
                _ => vector.push(IoVec { base: at.as_ptr().cast(), len }),
            }
        }
        // A single piece goes by a 32-bit length.
        if vector.iter().any(|v| v.len > i32::MAX as usize) {
            return Err(Errno::INVAL.into());
        }
        Ok(vector)
    }

    /// Makes a file's data durable, and what is needed to find it.
    pub fn sync(&mut self, file: &Arc<OwnedFd>, token: u64) -> io::Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        let entry = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
        self.push(Some(file), Payload::None, token, entry)
    }

    /// `fallocate(2)`.
    pub fn allocate(
        &mut self,
        file: &Arc<OwnedFd>,
        flags: rustix::fs::FallocateFlags,
        offset: u64,
        len: u64,
        token: u64,
    ) -> io::Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        let mode = flags.bits() as i32;
        let entry = opcode::Fallocate::new(fd, len).offset(offset).mode(mode).build();
        self.push(Some(file), Payload::None, token, entry)
    }

    /// Waits for an eventfd that was made to block, and takes its count.
    pub fn watch(&mut self, eventfd: &Arc<OwnedFd>, token: u64) -> io::Result<()> {
        let mut count = Box::new([0; 8]);
        let fd = types::Fd(eventfd.as_raw_fd());
        let entry = opcode::Read::new(fd, count.as_mut_ptr(), 8).build();
        self.push(Some(eventfd), Payload::Count(count), token, entry)
    }

    /// Ends at once.
    pub fn nop(&mut self, token: u64) -> io::Result<()> {
        self.push(None, Payload::None, token, opcode::Nop::new().build())
    }

    /// Ends after a time, with `ETIME`.
    pub fn timeout(&mut self, after: Duration, token: u64) -> io::Result<()> {
        let time = Box::new(types::Timespec::from(after));
        let entry = opcode::Timeout::new(&*time).build();
        self.push(None, Payload::Time(time), token, entry)
    }

    fn push(
        &mut self,
        file: Option<&Arc<OwnedFd>>,
        payload: Payload,
        token: u64,
        entry: squeue::Entry,
    ) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.ops.push(None);
            self.ops.len() - 1
        });
        self.ops[slot] = Some(Op { token, payload, _file: file.cloned() });
        let result = self.submit_entry(&entry.user_data(slot as u64));
        if result.is_err() {
            // It was not queued, so the kernel has not seen it.
            self.ops[slot] = None;
            self.free.push(slot);
        }
        result
    }

    fn submit_entry(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: what the entry points to belongs to an `Op` of `self.ops`,
        // which stays there until its completion is reaped; see the module.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::Error::from(Errno::BUSY))
    }

    /// Submits what is queued, waits for at least one completion, and appends
    /// all there are.
    pub fn wait(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        let before = done.len();
        while done.len() == before {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Completions must be reaped before more can be submitted.
                Err(e) if e.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
                Err(e) => return Err(e),
            }
            self.reap(done);
        }
        Ok(())
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        for entry in self.ring.completion() {
            let slot = entry.user_data();
            if slot == CANCEL {
                continue;
            }
            let Some(op) = self.ops.get_mut(slot as usize).and_then(Option::take) else {
                debug_assert!(false, "a completion of nothing");
                continue;
            };
            self.free.push(slot as usize);
            let result = match entry.result() {
                n if n >= 0 => Ok(n as u32),
                n => Err(Errno::from_raw_os_error(-n)),
            };
            let bytes = match op.payload {
                Payload::Own(bytes) => Some(bytes),
                _ => None,
            };
            done.push(Done { token: op.token, result, bytes });
        }
    }

    /// Cancels what can be cancelled and waits until nothing is in flight;
    /// gives what completed.
    pub fn drain(&mut self) -> io::Result<Vec<Done>> {
        let mut all = Vec::new();
        if self.in_flight() > 0 {
            let any = types::CancelBuilder::any();
            let entry = opcode::AsyncCancel2::new(any).build().user_data(CANCEL);
            self.submit_entry(&entry)?;
        }
        while self.in_flight() > 0 {
            self.wait(&mut all)?;
        }
        Ok(all)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.drain().is_err() {
            // The kernel may still write: what it writes to must stay.
            std::mem::forget((std::mem::take(&mut self.ops), self.memory.clone()));
        }
    }
}

/// An eventfd that reading waits for, as [`Engine::watch`] wants it.
pub fn blocking_eventfd() -> Result<Arc<OwnedFd>, Error> {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
        .map(Arc::new)
        .map_err(|e| Error::device("make an eventfd", e))
}

/// Adds one to an eventfd.
pub fn signal(eventfd: impl AsFd) -> io::Result<()> {
    rustix::io::write(eventfd, &1u64.to_ne_bytes())?;
    Ok(())
}
