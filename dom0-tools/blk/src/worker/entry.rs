// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request from when it is taken until it is finished: which operation comes
//! next, and what its end means.

use crate::image::Image;
use crate::request::{Hole, Work, skip};
use hv_client::uring::{Buffer, Engine};
use hv_io::blk::status;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::io;

/// Zeroes written at a time where the file system can't zero a range itself.
const FILL: u64 = 1 << 20;

/// Where a request's answer goes.
#[derive(Debug)]
pub struct Answer {
    /// Name in the queue.
    pub head: u16,
    /// Guest-physical address of the status byte.
    pub status: u64,
    /// Bytes the guest gets if it succeeds.
    pub written: u32,
}

/// What comes after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another one.
    Again,
    /// The answer, with this status.
    Done(u8),
    /// The host could not do it.
    Failed(Errno),
}

/// See the module.
#[derive(Debug)]
pub struct Entry {
    /// Where the answer goes.
    pub answer: Answer,
    work: Work,
    /// The throttle has let it pass.
    paid: bool,
    /// Not around the page cache, as that was refused.
    plain: bool,
    /// The latest operation went around the page cache.
    direct: bool,
    /// Zero by writing.
    fill: bool,
}

impl Entry {
    pub fn new(answer: Answer, work: Work) -> Self {
        Self { answer, work, paid: false, plain: false, direct: false, fill: false }
    }

    /// Direction and size of a transfer that has not passed its throttle.
    pub fn unpaid(&self) -> Option<(bool, u64)> {
        match self.work {
            Work::Transfer { write, left, .. } if !self.paid => Some((write, left)),
            _ => None,
        }
    }

    pub fn pay(&mut self) {
        self.paid = true;
    }

    /// Whether the latest operation was a transfer through the page cache.
    pub fn is_buffered(&self) -> bool {
        matches!(self.work, Work::Transfer { .. }) && !self.direct
    }

    /// Submits the next operation, or says that nothing is left to do.
    pub fn submit(
        &mut self,
        engine: &mut Engine,
        image: &Image,
        token: u64,
    ) -> io::Result<Option<u8>> {
        match &self.work {
            Work::Transfer { write, ranges, offset, left } => {
                let places = ranges.iter().fold(0, |all, r| all | r.gpa | u64::from(r.len));
                let (file, direct) = match self.plain {
                    true => (&image.plain, false),
                    false => image.file(places | offset | left),
                };
                self.direct = direct;
                let buffer = Buffer::Guest(ranges);
                match write {
                    true => engine.write(file, buffer, *offset, token)?,
                    false => engine.read(file, buffer, *offset, token)?,
                }
            }
            Work::Flush => engine.sync(&image.plain, token)?,
            Work::Holes { rest, zeroes } => {
                let Some(hole) = rest.first() else { return Ok(Some(status::OK)) };
                let Hole { offset, len, unmap } = *hole;
                if self.fill {
                    let bytes = vec![0; len.min(FILL) as usize];
                    engine.write(&image.plain, Buffer::Own(bytes), offset, token)?;
                } else {
                    let how = match unmap || !zeroes {
                        true => FallocateFlags::PUNCH_HOLE,
                        false => FallocateFlags::ZERO_RANGE,
                    };
                    let flags = how | FallocateFlags::KEEP_SIZE;
                    engine.allocate(&image.plain, flags, offset, len, token)?;
                }
            }
            Work::Identify(_) => return Ok(Some(status::OK)),
        }
        Ok(None)
    }

    /// What the end of an operation means.
    pub fn ended(&mut self, result: Result<u32, Errno>, image: &Image) -> Next {
        let n = match result {
            Ok(n) => u64::from(n),
            Err(Errno::AGAIN | Errno::INTR) => return Next::Again,
            Err(e) => return self.refused(e, image),
        };
        match &mut self.work {
            Work::Transfer { ranges, offset, left, .. } => {
                if n == *left {
                    return Next::Done(status::OK);
                }
                // Nothing at all: the file is shorter than it was.
                if n == 0 || n > *left {
                    return Next::Failed(Errno::IO);
                }
                skip(ranges, n);
                (*offset, *left) = (*offset + n, *left - n);
                Next::Again
            }
            Work::Holes { rest, .. } => {
                match rest.first_mut() {
                    Some(hole) if self.fill && n < hole.len => {
                        if n == 0 {
                            return Next::Failed(Errno::IO);
                        }
                        (hole.offset, hole.len) = (hole.offset + n, hole.len - n);
                    }
                    Some(_) => drop(rest.remove(0)),
                    None => {}
                }
                if rest.is_empty() { Next::Done(status::OK) } else { Next::Again }
            }
            Work::Flush | Work::Identify(_) => Next::Done(status::OK),
        }
    }

    /// The host said no: is there another way?
    fn refused(&mut self, errno: Errno, image: &Image) -> Next {
        match &self.work {
            Work::Transfer { .. }
                if self.direct && matches!(errno, Errno::INVAL | Errno::OPNOTSUPP) =>
            {
                image.refused();
                self.plain = true;
                Next::Again
            }
            Work::Holes { zeroes, .. } if errno == Errno::OPNOTSUPP && !self.fill => {
                // A discard is a wish; zeroes must be there.
                self.fill = *zeroes;
                if *zeroes { Next::Again } else { Next::Done(status::UNSUPP) }
            }
            _ => Next::Failed(errno),
        }
    }
}
