// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of bytes and operations per second, with bursts: token buckets.
//!
//! ```text
//! fn take(&mut self, now: Duration, bytes: u64) -> Option<Duration>
//! ```
//!
//! `None`: go on. Otherwise the time to wait; nothing was taken. A bucket may
//! be overdrawn by one request, so that one that is larger than the bucket goes
//! through as well, and is paid off afterwards. `now` is any clock that does not
//! go back, so that tests need none.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits in one direction; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes per second.
    pub bytes: u64,
    /// Bytes that may be taken at once after a rest; 0: a tenth of a second's.
    pub bytes_burst: u64,
    /// Operations per second.
    pub ops: u64,
    /// Operations that may be made at once after a rest; 0: a tenth of a
    /// second's.
    pub ops_burst: u64,
}

/// One bucket; amounts are in billionths, so that no rounding accumulates.
#[derive(Clone, Debug)]
struct Bucket {
    rate: u64,
    size: i128,
    level: i128,
    last: Duration,
}

const UNIT: i128 = 1_000_000_000;

impl Bucket {
    fn new(rate: u64, burst: u64) -> Self {
        let burst = if burst == 0 { (rate / 10).max(1) } else { burst };
        let size = i128::from(burst) * UNIT;
        Self { rate, size, level: size, last: Duration::ZERO }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last).as_nanos() as i128;
        self.last = self.last.max(now);
        self.level = self.size.min(self.level + passed * i128::from(self.rate));
    }

    /// Time until something can be taken.
    fn wait(&self) -> Option<Duration> {
        if self.rate == 0 || self.level > 0 {
            return None;
        }
        let nanos = (-self.level) / i128::from(self.rate) + 1;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn take(&mut self, amount: u64) {
        if self.rate > 0 {
            self.level -= i128::from(amount) * UNIT;
        }
    }
}

/// Both buckets of a direction.
#[derive(Clone, Debug)]
pub struct Throttle {
    limits: Limits,
    bytes: Bucket,
    ops: Bucket,
}

impl Throttle {
    /// Full buckets.
    pub fn new(limits: Limits) -> Self {
        let bytes = Bucket::new(limits.bytes, limits.bytes_burst);
        let ops = Bucket::new(limits.ops, limits.ops_burst);
        Self { limits, bytes, ops }
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.limits.bytes > 0 || self.limits.ops > 0
    }

    /// See the module.
    pub fn take(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        if !self.is_limited() {
            return None;
        }
        self.bytes.fill(now);
        self.ops.fill(now);
        if let Some(wait) = self.bytes.wait().max(self.ops.wait()) {
            return Some(wait);
        }
        self.bytes.take(bytes);
        self.ops.take(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes as soon as it may; bytes taken by `end`.
    fn run(limits: Limits, size: u64, end: Duration) -> (u64, u64) {
        let mut throttle = Throttle::new(limits);
        let (mut now, mut bytes, mut ops) = (Duration::ZERO, 0, 0);
        while now <= end {
            match throttle.take(now, size) {
                None => (bytes, ops) = (bytes + size, ops + 1),
                Some(wait) => now += wait,
            }
        }
        (bytes, ops)
    }

    #[test]
    fn no_limit_is_none() {
        let mut throttle = Throttle::new(Limits::default());
        assert!((0..1000).all(|_| throttle.take(Duration::ZERO, u64::MAX / 2).is_none()));
    }

    #[test]
    fn a_burst_comes_first_and_then_the_rate() {
        let limits = Limits { ops: 10, ops_burst: 50, ..Limits::default() };
        let (_, at_once) = run(limits, 1, Duration::ZERO);
        assert_eq!(at_once, 50);
        let (_, ops) = run(limits, 1, Duration::from_secs(10));
        assert!((149..=151).contains(&ops), "{ops}");
    }

    proptest! {
        #[test]
        fn no_more_than_rate_and_burst(bytes in 1u64..1 << 32, burst in 0u64..1 << 24,
                                       size in 1u64..1 << 22, seconds in 1u64..5) {
            let limits = Limits { bytes, bytes_burst: burst, ..Limits::default() };
            // Small requests against a large limit would take for ever to play.
            prop_assume!(bytes / size < 20_000 && burst / size < 20_000);
            let (taken, _) = run(limits, size, Duration::from_secs(seconds));
            let burst = if burst == 0 { (bytes / 10).max(1) } else { burst };
            // One request may overdraw, one more comes at the very end.
            prop_assert!(taken <= bytes * seconds + burst + 2 * size);
            prop_assert!(taken + 2 * size >= bytes * seconds);
        }

        #[test]
        fn a_clock_that_jumps_back_does_no_harm(times: Vec<u32>) {
            let mut throttle = Throttle::new(Limits { bytes: 1000, ops: 3, ..Limits::default() });
            for time in times {
                if let Some(wait) = throttle.take(Duration::from_millis(time.into()), 500) {
                    prop_assert!(wait > Duration::ZERO && wait < Duration::from_secs(2));
                }
            }
        }
    }
}
