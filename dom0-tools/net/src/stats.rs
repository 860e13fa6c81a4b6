// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters of a card, raised by its queues' threads.

use hv_backend::stats::Counter;
use serde::Serialize;

/// One direction of one pair of queues; its thread is the only one to write.
#[derive(Debug, Default)]
pub struct Direction {
    /// Packets passed on.
    pub packets: Counter,
    /// Their bytes, headers of virtio not counted.
    pub bytes: Counter,
    /// Refused: forged addresses.
    pub spoofed: Counter,
    /// Refused: headers that make no sense.
    pub malformed: Counter,
    /// Lost: the other side took no more, or the link was down.
    pub dropped: Counter,
    /// How often the limit held packets back.
    pub throttled: Counter,
    /// Kicks or readiness that woke the thread for this direction.
    pub wakeups: Counter,
    /// Interrupts sent to the guest.
    pub interrupts: Counter,
}

/// Both directions of a pair.
#[derive(Debug, Default)]
pub struct Stats {
    /// From the guest.
    pub send: Direction,
    /// To the guest.
    pub receive: Direction,
}

/// Sums of one direction, as they are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "as in `Direction`")]
pub struct Figures {
    pub packets: u64,
    pub bytes: u64,
    pub spoofed: u64,
    pub malformed: u64,
    pub dropped: u64,
    pub throttled: u64,
    pub wakeups: u64,
    pub interrupts: u64,
}

impl Figures {
    /// Sums over pairs.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Direction>) -> Self {
        all.fold(Self::default(), |sum, d| Self {
            packets: sum.packets + d.packets.get(),
            bytes: sum.bytes + d.bytes.get(),
            spoofed: sum.spoofed + d.spoofed.get(),
            malformed: sum.malformed + d.malformed.get(),
            dropped: sum.dropped + d.dropped.get(),
            throttled: sum.throttled + d.throttled.get(),
            wakeups: sum.wakeups + d.wakeups.get(),
            interrupts: sum.interrupts + d.interrupts.get(),
        })
    }
}
