// SPDX-License-Identifier: MIT OR Apache-2.0
//! The unsafe room: ioctls of the device files and memory mappings.
//!
//! UNSAFETY: ioctl numbers and argument structures must match the kernel's
//! header, and mapped memory is shared with a guest that writes when it likes.
//! Soundness: each structure is `repr(C)` of plain integers with a size that
//! is asserted and that the ioctl number repeats, so that a kernel with another
//! layout answers ENOTTY; a [`Mapping`] is never seen as a reference, only
//! through atomics after a bounds check, so that a guest's write is a value and
//! never a data race.

use rustix::ioctl::{Opcode, Setter, Updater, opcode};
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

const GROUP: u8 = b'H';
/// [`CallArgs::buf_arg`] when no argument is a buffer.
pub(crate) const NO_BUFFER: u32 = u32::MAX;
/// The most a bounce buffer holds.
pub(crate) const BUFFER_MAX: usize = 4096;

/// `struct hvx_call`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallArgs {
    pub nr: u64,
    pub arg: [u64; 5],
    pub value: u64,
    pub status: u32,
    pub buf_arg: u32,
    pub buf: u64,
    pub buf_len: u32,
    pub pad: u32,
}
const _: () = assert!(size_of::<CallArgs>() == 80);

/// `struct hvx_event_bind`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BindArgs {
    pub domain: u32,
    pub remote_port: u32,
    pub port: u32,
    pub pad: u32,
}
const _: () = assert!(size_of::<BindArgs>() == 16);

/// `struct hvx_event_virq` and `struct hvx_event_alloc`: what, and the port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PortArgs {
    pub what: u32,
    pub port: u32,
}
const _: () = assert!(size_of::<PortArgs>() == 8);

/// `struct hvx_event_fd`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FdArgs {
    pub port: u32,
    pub fd: i32,
}
const _: () = assert!(size_of::<FdArgs>() == 8);

const CALL: Opcode = opcode::read_write::<CallArgs>(GROUP, 0x01);
const RESTRICT: Opcode = opcode::write::<u32>(GROUP, 0x02);
const BIND: Opcode = opcode::read_write::<BindArgs>(GROUP, 0x10);
const VIRQ: Opcode = opcode::read_write::<PortArgs>(GROUP, 0x11);
const ALLOC: Opcode = opcode::read_write::<PortArgs>(GROUP, 0x12);
const EVENTFD: Opcode = opcode::write::<FdArgs>(GROUP, 0x13);
const SEND: Opcode = opcode::write::<u32>(GROUP, 0x14);
const CLOSE: Opcode = opcode::write::<u32>(GROUP, 0x15);
const KICKFD: Opcode = opcode::write::<FdArgs>(GROUP, 0x16);
const FOREIGN_DOMAIN: Opcode = opcode::write::<u32>(GROUP, 0x20);

macro_rules! update {
    ($(#[$doc:meta])* $name:ident, $opcode:ident, $args:ty) => {
        $(#[$doc])*
        pub(crate) fn $name(fd: BorrowedFd<'_>, args: &mut $args) -> rustix::io::Result<()> {
            // SAFETY: the opcode is the kernel header's for this structure, whose
            // layout is asserted above; the kernel writes only within it.
            unsafe { rustix::ioctl::ioctl(fd, Updater::<$opcode, $args>::new(args)) }
        }
    };
}

macro_rules! set {
    ($(#[$doc:meta])* $name:ident, $opcode:ident, $args:ty) => {
        $(#[$doc])*
        pub(crate) fn $name(fd: BorrowedFd<'_>, args: $args) -> rustix::io::Result<()> {
            // SAFETY: the opcode is the kernel header's for this type, which the
            // kernel only reads.
            unsafe { rustix::ioctl::ioctl(fd, Setter::<$opcode, $args>::new(args)) }
        }
    };
}

update!(bind, BIND, BindArgs);
update!(virq, VIRQ, PortArgs);
update!(alloc, ALLOC, PortArgs);
set!(restrict, RESTRICT, u32);
set!(eventfd, EVENTFD, FdArgs);
set!(kickfd, KICKFD, FdArgs);
set!(send, SEND, u32);
set!(close, CLOSE, u32);
set!(foreign_domain, FOREIGN_DOMAIN, u32);

/// One hypercall; the buffer takes the place of argument `position`.
pub(crate) fn call(
    fd: BorrowedFd<'_>,
    args: &mut CallArgs,
    buffer: Option<(usize, &mut [u8])>,
) -> rustix::io::Result<()> {
    // `buffer` is ours alone until this function returns, after the ioctl.
    if let Some((position, bytes)) = buffer {
        if bytes.len() > BUFFER_MAX {
            return Err(rustix::io::Errno::INVAL);
        }
        args.buf_arg = position as u32;
        args.buf = bytes.as_mut_ptr() as u64;
        args.buf_len = bytes.len() as u32;
    } else {
        (args.buf_arg, args.buf, args.buf_len) = (NO_BUFFER, 0, 0);
    }
    // SAFETY: the opcode and the layout are the kernel header's; the kernel
    // writes to the structure and to `buf_len` bytes at `buf`, which is
    // exclusively ours through `buffer`.
    unsafe { rustix::ioctl::ioctl(fd, Updater::<CALL, CallArgs>::new(args)) }
}

/// Memory shared with others, readable and writable.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to no thread, and every access is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` on.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> rustix::io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice replaces
        // nothing. It stays valid until `drop`: a foreign mapping holds its
        // pages, and the fake's file is never made shorter.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                offset,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether `len` bytes at `offset` are within the mapping.
    pub(crate) fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(self.holds(offset, 1));
        // SAFETY: within the mapping, aligned, and only ever accessed by atomics.
        unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(offset)) }
    }

    /// A 32-bit word; `offset` must be aligned and inside.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(self.holds(offset, 4) && offset.is_multiple_of(4));
        // SAFETY: within the mapping, whose base is page-aligned, so that an
        // aligned offset is an aligned address; only ever accessed by atomics.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// A 64-bit word; `offset` must be aligned and inside.
    pub(crate) fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(self.holds(offset, 8) && offset.is_multiple_of(8));
        self.quad(offset)
    }

    /// Where `len` bytes at `offset` are, if they are inside.
    #[cfg(feature = "backend")]
    pub(crate) fn pointer(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        // SAFETY: `offset` is at most the length, so the result is within the
        // mapping or just behind it.
        self.holds(offset, len).then(|| unsafe { self.base.add(offset) })
    }

    fn quad(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(self.holds(offset, 8) && offset.is_multiple_of(8));
        // SAFETY: as `word`; its callers have checked the whole range.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// Copies out; the range must be inside.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(self.holds(offset, into.len()));
        let lead = offset.next_multiple_of(8).min(offset + into.len()) - offset;
        let (head, rest) = into.split_at_mut(lead);
        for (i, byte) in head.iter_mut().enumerate() {
            *byte = self.byte(offset + i).load(Ordering::Relaxed);
        }
        let mut at = offset + lead;
        let mut chunks = rest.chunks_exact_mut(8);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&self.quad(at).load(Ordering::Relaxed).to_ne_bytes());
            at += 8;
        }
        for (i, byte) in chunks.into_remainder().iter_mut().enumerate() {
            *byte = self.byte(at + i).load(Ordering::Relaxed);
        }
    }

    /// Copies in; the range must be inside.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        assert!(self.holds(offset, from.len()));
        let lead = offset.next_multiple_of(8).min(offset + from.len()) - offset;
        let (head, rest) = from.split_at(lead);
        for (i, byte) in head.iter().enumerate() {
            self.byte(offset + i).store(*byte, Ordering::Relaxed);
        }
        let mut at = offset + lead;
        let chunks = rest.chunks_exact(8);
        let tail = chunks.remainder();
        for chunk in chunks {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            self.quad(at).store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            at += 8;
        }
        for (i, byte) in tail.iter().enumerate() {
            self.byte(at + i).store(*byte, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length; nothing borrows from it, as
        // every borrow has the lifetime of `self`.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(result.is_ok(), "{result:?}");
    }
}
