// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the guest to the tap. The header and the frame's first bytes are copied
//! once, looked at, and sent as that copy; the rest goes from the guest's
//! memory to the kernel without a copy of ours.

use crate::card::{Card, Way};
use crate::guard::{Guard, HEAD};
use crate::header::{self, LEN};
use crate::stats::Direction;
use hv_backend::ring::total;
use hv_backend::{Chain, Ring};
use hv_client::tap::Tap;
use hv_client::uring::Range;
use hv_io::Fault;
use rustix::io::Errno;
use std::time::Duration;
use zerocopy::IntoBytes;

/// Packets passed before others get a turn.
pub const BATCH: usize = 64;

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: go on.
    Again,
    /// Its source.
    Source,
    /// Buffers of the guest (only when receiving).
    Buffers,
    /// Its limit.
    Limit(Duration),
}

/// The direction.
pub struct Transmit {
    guard: Option<Guard>,
    plain_max: usize,
    /// Taken from the ring, but over the limit.
    held: Option<Chain>,
}

impl Transmit {
    /// For a card.
    pub fn new(card: &Card) -> Self {
        let (guard, plain_max) = (card.settings.guard(), card.settings.plain_max());
        Self { guard, plain_max, held: None }
    }

    /// Passes on what the guest has sent, up to a batch.
    pub fn run(
        &mut self,
        ring: &mut Ring,
        features: u64,
        tap: &Tap,
        card: &Card,
        stats: &Direction,
    ) -> Result<Next, Fault> {
        ring.quiet()?;
        for _ in 0..BATCH {
            let chain = match self.held.take() {
                Some(chain) => chain,
                None => match ring.pop()? {
                    Some(chain) => chain,
                    None if ring.listen()? => continue,
                    None => return Ok(Next::Source),
                },
            };
            let len = total(&chain.readable);
            let Some(frame) = usize::try_from(len).ok().and_then(|len| len.checked_sub(LEN)) else {
                return Err(Fault::Buffers);
            };
            if !chain.writable.is_empty() {
                return Err(Fault::Buffers);
            }
            if let Some(wait) = card.take(Way::Send, frame as u64) {
                stats.throttled.add(1);
                self.held = Some(chain);
                return Ok(Next::Limit(wait));
            }
            match card.link() {
                true => self.one(ring, &chain, frame, features, tap, stats)?,
                false => stats.dropped.add(1),
            }
            ring.finish(chain.head, 0)?;
        }
        Ok(Next::Again)
    }

    fn one(
        &self,
        ring: &Ring,
        chain: &Chain,
        frame: usize,
        features: u64,
        tap: &Tap,
        stats: &Direction,
    ) -> Result<(), Fault> {
        let mut head = [0; LEN + HEAD];
        let head = &mut head[..LEN + frame.min(HEAD)];
        ring.copy_out(&chain.readable, 0, head)?;
        let Some((claimed, bytes)) = head.split_first_chunk_mut::<LEN>() else {
            return Err(Fault::Buffers);
        };
        let Ok(header) = header::check(claimed, frame, self.plain_max, features) else {
            stats.malformed.add(1);
            return Ok(());
        };
        if self.guard.as_ref().is_some_and(|guard| guard.check(bytes).is_err()) {
            stats.spoofed.add(1);
            return Ok(());
        }
        claimed.copy_from_slice(header.as_bytes());
        let rest = behind(&chain.readable, head.len() as u64);
        match tap.send(head, ring.memory(), &rest) {
            Ok(_) => {
                stats.packets.add(1);
                stats.bytes.add(frame as u64);
            }
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                stats.malformed.add(1);
            }
            Err(_) => stats.dropped.add(1),
        }
        Ok(())
    }
}

/// The ranges behind the first `skip` bytes.
pub fn behind(ranges: &[Range], mut skip: u64) -> Vec<Range> {
    let mut rest = Vec::with_capacity(ranges.len());
    for range in ranges {
        let gone = skip.min(range.len.into());
        skip -= gone;
        if gone < u64::from(range.len) {
            rest.push(Range { gpa: range.gpa + gone, len: range.len - gone as u32 });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_behind_a_head() {
        let range = |gpa, len| Range { gpa, len };
        let ranges = [range(100, 10), range(200, 5), range(300, 7)];
        assert_eq!(behind(&ranges, 0), ranges);
        assert_eq!(behind(&ranges, 12), [range(202, 3), range(300, 7)]);
        assert_eq!(behind(&ranges, 15), [range(300, 7)]);
        assert_eq!(behind(&ranges, 22), []);
    }
}
