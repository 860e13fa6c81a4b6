// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taps: network interfaces whose cable is a file. And packets between such a
//! file and a guest's memory, without a copy:
//!
//! ```text
//! fn send(&self, head: &[u8], memory: &GuestMemory, rest: &[Range]) -> io::Result<usize>
//! fn receive(&self, memory: &GuestMemory, into: &[Range]) -> io::Result<usize>
//! ```
//!
//! UNSAFETY: ioctls with structures, and vectors of pointers for the kernel.
//! Soundness: structures are `repr(C)` with an asserted size and the numbers of
//! `linux/if_tun.h`; a vector's pieces are either a slice that is borrowed for the
//! call or ranges checked against the guest's memory, whose mapping is borrowed
//! as well; guest memory is only ever pointed to.

use crate::uring::Range;
use crate::{Error, GuestMemory};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, opcode};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The longest name of an interface (`IFNAMSIZ` less the zero).
pub const NAME_MAX: usize = 15;
/// Pieces of a packet that one call passes.
const PIECES: usize = 128;

/// Offloads (`TUN_F_*`): what a reader of the tap can do with packets.
pub mod offload {
    #![allow(missing_docs)]
    pub const CSUM: u32 = 0x01;
    pub const TSO4: u32 = 0x02;
    pub const TSO6: u32 = 0x04;
    pub const TSO_ECN: u32 = 0x08;
}

/// `struct ifreq` with flags.
#[repr(C)]
#[derive(Clone, Copy)]
struct IfReq {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}
const _: () = assert!(size_of::<IfReq>() == 40);

const IFF_TAP: u16 = 0x0002;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_ATTACH_QUEUE: u16 = 0x0200;
const IFF_DETACH_QUEUE: u16 = 0x0400;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

// The numbers say `int`, whatever is passed.
const SET_IFF: Opcode = opcode::write::<i32>(b'T', 202);
const SET_PERSIST: Opcode = opcode::write::<i32>(b'T', 203);
const SET_QUEUE: Opcode = opcode::write::<i32>(b'T', 217);
const SET_OFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const SET_VNET_HDR: Opcode = opcode::write::<i32>(b'T', 216);

/// Numbers of the ioctls that a backend needs while it serves.
pub const IOCTLS: [u64; 2] = [SET_OFFLOAD as u64, SET_QUEUE as u64];

/// A queue of a tap.
#[derive(Debug)]
pub struct Tap {
    file: OwnedFd,
    /// Something else, which behaves like one but knows no ioctls.
    plain: bool,
}

/// An ioctl whose argument is the number itself.
fn number<const OPCODE: Opcode>(fd: BorrowedFd<'_>, value: usize) -> rustix::io::Result<()> {
    // SAFETY: these ioctls of a tap take a plain number and no memory.
    unsafe { rustix::ioctl::ioctl(fd, IntegerSetter::<OPCODE>::new_usize(value)) }
}

impl Tap {
    /// Opens a queue of the interface `name`, and makes the interface if there
    /// is none and the caller may. A queue's packets have the virtio header of
    /// 12 bytes, reads and writes do not wait.
    pub fn open(name: &str, header: i32) -> Result<Self, Error> {
        let no = |e: Errno| Error::device(format!("open the tap `{name}`"), e);
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(no(Errno::INVAL));
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .map_err(|e| Error::device("open /dev/net/tun", e))?;
        let mut request = IfReq {
            name: [0; 16],
            flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE,
            rest: [0; 22],
        };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the kernel reads and writes a `struct ifreq`, which this is,
        // although the ioctl's number says `int`.
        unsafe { rustix::ioctl::ioctl(&file, Updater::<SET_IFF, IfReq>::new(&mut request)) }
            .map_err(no)?;
        // SAFETY: the kernel reads an `int`.
        unsafe { rustix::ioctl::ioctl(&file, Setter::<SET_VNET_HDR, i32>::new(header)) }
            .map_err(no)?;
        Ok(Self { file, plain: false })
    }

    /// Keeps the interface when nobody has it open.
    pub fn keep(&self) -> Result<(), Error> {
        number::<SET_PERSIST>(self.file.as_fd(), 1).map_err(|e| Error::device("keep a tap", e))
    }

    /// Lets the interface go with its last queue.
    pub fn forget(&self) -> Result<(), Error> {
        let no = |e: Errno| Error::device("remove a tap", e);
        number::<SET_PERSIST>(self.file.as_fd(), 0).map_err(no)
    }

    /// Says what packets that are read may leave to do ([`offload`]).
    pub fn set_offload(&self, flags: u32) -> Result<(), Error> {
        if self.plain {
            return Ok(());
        }
        number::<SET_OFFLOAD>(self.file.as_fd(), flags as usize)
            .map_err(|e| Error::device("set a tap's offloads", e))
    }

    /// Has this queue get packets, or not.
    pub fn attach(&self, attached: bool) -> Result<(), Error> {
        if self.plain {
            return Ok(());
        }
        let flags = if attached { IFF_ATTACH_QUEUE } else { IFF_DETACH_QUEUE };
        let mut request = IfReq { name: [0; 16], flags, rest: [0; 22] };
        // SAFETY: the kernel reads a `struct ifreq`, which this is, although the
        // ioctl's number says `int`.
        unsafe { rustix::ioctl::ioctl(&self.file, Updater::<SET_QUEUE, IfReq>::new(&mut request)) }
            .map_err(|e| Error::device("attach or detach a queue of a tap", e))
    }

    /// Sends one packet: `head`, then ranges of the guest's memory.
    pub fn send(&self, head: &[u8], memory: &GuestMemory, rest: &[Range]) -> io::Result<usize> {
        let mut pieces = Pieces::default();
        // The kernel only reads what a write names.
        pieces.push(head.as_ptr().cast_mut(), head.len())?;
        pieces.add(memory, rest)?;
        // SAFETY: `pieces` are `head` and mapped guest memory, both borrowed.
        let sent = unsafe {
            libc::writev(self.file.as_raw_fd(), pieces.vector.as_ptr(), pieces.count as i32)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Receives one packet into ranges of the guest's memory. What does not
    /// fit is lost.
    pub fn receive(&self, memory: &GuestMemory, into: &[Range]) -> io::Result<usize> {
        let mut pieces = Pieces::default();
        pieces.add(memory, into)?;
        // SAFETY: `pieces` are mapped guest memory, which is borrowed and to
        // which there are no references.
        let read = unsafe {
            libc::readv(self.file.as_raw_fd(), pieces.vector.as_ptr(), pieces.count as i32)
        };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file that behaves like a tap: for tests, a datagram socket.
impl From<OwnedFd> for Tap {
    fn from(file: OwnedFd) -> Self {
        Self { file, plain: true }
    }
}

/// A vector for the kernel.
struct Pieces {
    vector: [libc::iovec; PIECES],
    count: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { vector: [none; PIECES], count: 0 }
    }
}

impl Pieces {
    fn push(&mut self, base: *mut u8, len: usize) -> io::Result<()> {
        if let Some(last) = self.count.checked_sub(1).and_then(|i| self.vector.get_mut(i))
            && last.iov_base.wrapping_byte_add(last.iov_len) == base.cast()
        {
            last.iov_len += len;
            return Ok(());
        }
        let slot = self.vector.get_mut(self.count).ok_or(Errno::MSGSIZE)?;
        *slot = libc::iovec { iov_base: base.cast(), iov_len: len };
        self.count += 1;
        Ok(())
    }

    fn add(&mut self, memory: &GuestMemory, ranges: &[Range]) -> io::Result<()> {
        for range in ranges {
            let len = range.len as usize;
            let at = memory.pointer(range.gpa, len).ok_or(Errno::FAULT)?;
            self.push(at.as_ptr(), len)?;
        }
        Ok(())
    }
}
