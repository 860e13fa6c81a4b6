// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watchdogs: a domain that does not call in time is stopped. Every CPU's
//! timer is armed for the earliest deadline at the latest ([`next`]), and who
//! comes by first after it stops whoever is late ([`look`]).

use crate::domain::{Domain, Stop, run, table};
use crate::vcpu::NEVER;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::Status;
use hv_abi::domain::reason;
use hv_hal::time;

/// The longest time a domain can choose: an hour.
const MAX_MS: u64 = 3_600_000;

/// No deadline is earlier; it may be one that was moved since.
static NEXT: AtomicU64 = AtomicU64::new(NEVER);

/// The time at which somebody has to look.
pub fn next() -> u64 {
    NEXT.load(Ordering::SeqCst)
}

/// SchedWatchdog.
pub fn set(domain: &Domain, timeout_ms: u64) -> Result<(), Status> {
    if timeout_ms > MAX_MS {
        return Err(Status::Invalid);
    }
    let at = match timeout_ms {
        0 => NEVER,
        ms => time::now().saturating_add(ms.saturating_mul(time::khz())),
    };
    domain.watchdog.store(at, Ordering::SeqCst);
    NEXT.fetch_min(at, Ordering::SeqCst);
    Ok(())
}

/// Stops every domain that is late, if it is time to look. True when the
/// machine is to end with it ([`run::is_over`]).
#[must_use]
pub fn look() -> bool {
    let next = next();
    if next == NEVER || time::now() < next {
        return false;
    }
    // Who sets one from here on lowers this again.
    NEXT.store(NEVER, Ordering::SeqCst);
    let now = time::now();
    table::each(&mut |domain| {
        let at = domain.watchdog.load(Ordering::SeqCst);
        if at > now {
            NEXT.fetch_min(at, Ordering::SeqCst);
            return;
        }
        let late = domain.watchdog.compare_exchange(at, NEVER, Ordering::SeqCst, Ordering::SeqCst);
        match late {
            // It called in this very moment.
            Err(moved) => {
                NEXT.fetch_min(moved, Ordering::SeqCst);
            }
            Ok(_) if domain.is_dying() => {}
            Ok(_) => {
                log::warn!("d{}: its watchdog ran out", domain.id);
                run::stop(domain, Stop { reason: reason::WATCHDOG, ..Stop::default() });
            }
        }
    });
    run::is_over()
}
