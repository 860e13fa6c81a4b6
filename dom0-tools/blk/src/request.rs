// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the buffers of a request to what is to be done (virtio 1.2, 5.2.6).
//!
//! A request is a header of 16 bytes to read, data either way, and a status
//! byte to write, however they are spread over buffers. One that lacks header
//! or status is a fault of the driver; one that asks for what can't be is
//! answered with a [`Refusal`].

use hv_backend::ring::{Chain, total};
use hv_client::uring::Range;
use hv_io::Fault;
use hv_io::blk::{self, Header, Kind, Refusal, Segment, Shape};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Segments of one discard or write of zeroes.
pub const SEGMENTS_MAX: usize = 16;

/// What a disk is, as far as requests are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Features the guest accepted, and read-only.
    pub features: u64,
    /// Size and block size.
    pub shape: Shape,
}

/// A range of the disk to be given back or zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether space may be given back.
    pub unmap: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Move data between disk and guest.
    Transfer {
        /// To the disk.
        write: bool,
        /// The guest's buffers, not yet done.
        ranges: Vec<Range>,
        /// Position on the disk.
        offset: u64,
        /// Bytes left.
        left: u64,
    },
    /// Make what was acknowledged durable.
    Flush,
    /// Tell the serial number.
    Identify(Vec<Range>),
    /// Give space back or write zeroes, one after another.
    Holes {
        /// Ranges left.
        rest: Vec<Hole>,
        /// Whether they must read as zeroes afterwards.
        zeroes: bool,
    },
}

/// A request with its place for the answer.
#[derive(Debug)]
pub struct Request {
    /// Name in the queue.
    pub head: u16,
    /// Guest-physical address of the status byte.
    pub status: u64,
    /// Bytes the guest gets, status included, when it succeeds.
    pub written: u32,
    /// What is to be done, or why not.
    pub work: Result<Work, Refusal>,
}

/// Drops bytes from the beginning of ranges.
pub fn skip(ranges: &mut Vec<Range>, mut bytes: u64) {
    let mut whole = 0;
    for range in ranges.iter_mut() {
        let here = u64::from(range.len);
        if bytes < here {
            range.gpa += bytes;
            range.len -= bytes as u32;
            break;
        }
        bytes -= here;
        whole += 1;
    }
    ranges.drain(..whole);
}

/// Takes the last byte off ranges; its address.
fn last_byte(ranges: &mut Vec<Range>) -> Option<u64> {
    let last = ranges.last_mut()?;
    last.len -= 1;
    let at = last.gpa + u64::from(last.len);
    if last.len == 0 {
        ranges.pop();
    }
    Some(at)
}

/// What a chain asks for. `copy` copies from the guest's memory, once.
pub fn parse(
    chain: Chain,
    limits: Limits,
    copy: impl Fn(&[Range], u64, &mut [u8]) -> Result<(), Fault>,
) -> Result<Request, Fault> {
    let Chain { head, mut readable, mut writable } = chain;
    let mut header = Header::new_zeroed();
    copy(&readable, 0, header.as_mut_bytes())?;
    skip(&mut readable, size_of::<Header>() as u64);
    let status = last_byte(&mut writable).ok_or(Fault::Buffers)?;
    let room = total(&writable);
    let mut written = 1;
    let work = match Kind::parse(&header, limits.features) {
        Ok(Kind::Read(sector)) => transfer(false, writable, sector, limits.shape).inspect(|_| {
            written += room as u32;
        }),
        Ok(Kind::Write(sector)) => transfer(true, readable, sector, limits.shape),
        Ok(Kind::Flush) => Ok(Work::Flush),
        Ok(Kind::Identify) if room < blk::ID_LEN as u64 => Err(Refusal::Range),
        Ok(Kind::Identify) => {
            written += blk::ID_LEN as u32;
            Ok(Work::Identify(writable))
        }
        Ok(kind @ (Kind::Discard | Kind::WriteZeroes)) => {
            let zeroes = kind == Kind::WriteZeroes;
            let len = total(&readable) as usize;
            let whole = len.is_multiple_of(size_of::<Segment>());
            if len == 0 || !whole || len / size_of::<Segment>() > SEGMENTS_MAX {
                Err(Refusal::Range)
            } else {
                let mut bytes = vec![0; len];
                copy(&readable, 0, &mut bytes)?;
                holes(&bytes, limits.shape, zeroes)
            }
        }
        Err(refusal) => Err(refusal),
    };
    Ok(Request { head, status, written, work })
}

fn transfer(write: bool, ranges: Vec<Range>, sector: u64, shape: Shape) -> Result<Work, Refusal> {
    let left = total(&ranges);
    let offset = blk::check_range(sector, left, shape)?;
    // More than a length of virtio can say.
    if left == 0 || left > u64::from(u32::MAX - 1) {
        return Err(Refusal::Range);
    }
    Ok(Work::Transfer { write, ranges, offset, left })
}

fn holes(bytes: &[u8], shape: Shape, zeroes: bool) -> Result<Work, Refusal> {
    let mut rest = Vec::new();
    for bytes in bytes.chunks_exact(size_of::<Segment>()) {
        let segment = Segment::read_from_bytes(bytes).map_err(|_| Refusal::Range)?;
        let (offset, len, unmap) = blk::check_segment(&segment, shape, zeroes)?;
        if len > 0 {
            rest.push(Hole { offset, len, unmap });
        }
    }
    Ok(Work::Holes { rest, zeroes })
}
