// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's log: a ring of text that `hvctl dmesg` reads, mirrored to the
//! serial line. Positions in the log never repeat: they count all bytes ever
//! written.
//!
//! Text that a guest can cause goes through [`guest_log!`], which lets a
//! burst pass and then a few lines a second, and says how many it dropped.

use crate::clock;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hv_hal::serial;
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Mutex;

/// Bytes kept.
const LEN: usize = 64 * 1024;

struct Ring {
    text: [u8; LEN],
    /// Bytes ever written.
    written: u64,
}

impl Ring {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let at = (self.written % LEN as u64) as usize;
            if let Some(slot) = self.text.get_mut(at) {
                *slot = *byte;
            }
            self.written += 1;
        }
    }
}

static RING: Mutex<Ring> = Mutex::new(Ring { text: [0; LEN], written: 0 });

/// Text came since [`take_news`] was asked last.
static NEWS: AtomicBool = AtomicBool::new(false);

/// Whether text came since the last call. The caller raises the event of it:
/// the logger itself may run in the middle of anything.
pub fn take_news() -> bool {
    NEWS.load(Ordering::Relaxed) && NEWS.swap(false, Ordering::Relaxed)
}

/// A line being formatted; longer ones are cut.
struct Line {
    text: [u8; 240],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.text.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line { text: [0; 240], len: 0 };
        let us = clock::uptime_ns() / 1000;
        let room = record.target().rsplit(':').next().unwrap_or("core");
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        // Formatting into `Line` can't fail; it cuts instead.
        let _ = write!(
            line,
            "[{:5}.{:06}] {level} {room}: {}",
            us / 1_000_000,
            us % 1_000_000,
            record.args()
        );
        line.len = line.len.min(line.text.len() - 1);
        let _ = line.write_str("\n");
        let bytes = line.text.get(..line.len).unwrap_or_default();
        RING.lock().push(bytes);
        NEWS.store(true, Ordering::Relaxed);
        serial::write(bytes);
    }

    fn flush(&self) {}
}

static LOGGER: Logger = Logger;

/// Makes this the log of the `log` crate.
pub fn install(level: LevelFilter) {
    // A second call (tests) finds the logger installed, which is as good.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

/// Copies text from `cursor` on into `buf`; returns the next cursor and the
/// number of bytes. A cursor that is too old moves to the oldest text kept.
pub fn read(cursor: u64, buf: &mut [u8]) -> (u64, usize) {
    let ring = RING.lock();
    let oldest = ring.written.saturating_sub(LEN as u64);
    let mut at = cursor.clamp(oldest, ring.written);
    let mut count = 0;
    for slot in buf.iter_mut() {
        if at == ring.written {
            break;
        }
        let index = (at % LEN as u64) as usize;
        *slot = ring.text.get(index).copied().unwrap_or(b'?');
        at += 1;
        count += 1;
    }
    (at, count)
}

/// Position behind the latest text.
pub fn end() -> u64 {
    RING.lock().written
}

/// Lets `BURST` lines through, then four a second.
pub struct Limiter {
    credit: AtomicU32,
    refilled: AtomicU64,
    dropped: AtomicU32,
}

const BURST: u32 = 32;
const PER_SECOND: u64 = 4;

impl Limiter {
    /// A limiter with its full burst.
    pub const fn new() -> Self {
        Self {
            credit: AtomicU32::new(BURST),
            refilled: AtomicU64::new(0),
            dropped: AtomicU32::new(0),
        }
    }

    /// May a line pass? Then: how many were dropped since the last.
    pub fn pass(&self) -> Option<u32> {
        let step = 1_000_000_000 / PER_SECOND;
        let now = clock::uptime_ns();
        let last = self.refilled.load(Ordering::Relaxed);
        let refill = u32::try_from(now.saturating_sub(last) / step).unwrap_or(BURST);
        if refill > 0 {
            self.refilled.store(now, Ordering::Relaxed);
            let credit = self.credit.load(Ordering::Relaxed);
            let more = credit.saturating_add(refill).min(BURST);
            self.credit.store(more, Ordering::Relaxed);
        }
        let taken = self
            .credit
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |c| c.checked_sub(1))
            .is_ok();
        if taken {
            Some(self.dropped.swap(0, Ordering::Relaxed))
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs what a guest caused, under its name and within its limit.
#[macro_export]
macro_rules! guest_log {
    ($domain:expr, $($arg:tt)*) => {
        if let Some(dropped) = $domain.log_limit.pass() {
            if dropped > 0 {
                log::warn!("d{}: {dropped} lines dropped", $domain.id);
            }
            log::warn!("d{}: {}", $domain.id, format_args!($($arg)*));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_cursors_move_to_the_oldest_text() {
        let mut ring_fill = [0u8; 16];
        RING.lock().push(b"hello ");
        let end = end();
        let (next, n) = read(end - 6, &mut ring_fill);
        assert!(n >= 6 && next >= end);
        let (_, n) = read(u64::MAX, &mut ring_fill);
        assert_eq!(n, 0);
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let limiter = Limiter::new();
        let passed = (0..1000).filter(|_| limiter.pass().is_some()).count();
        assert!((BURST as usize..BURST as usize + 8).contains(&passed));
    }
}
