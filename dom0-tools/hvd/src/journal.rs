// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened: the latest events, numbered, with readers that wait.

use hv_toolstack::api::Event;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Events that are kept.
const KEEP: usize = 1000;

/// The journal.
pub struct Journal {
    events: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { events: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Journal {
    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event, about a domain's number and name.
    pub fn write(&self, kind: &str, about: Option<(u16, &str)>, text: impl Into<String>) {
        let text = text.into();
        let (domain, name) = about.unzip();
        tracing::info!(kind, domain, name, "{text}");
        let mut events = self.events();
        let seq = *self.last.borrow() + 1;
        if events.len() == KEEP {
            events.pop_front();
        }
        events.push_back(Event {
            seq,
            unix_ms: unix_ms(),
            domain,
            name: name.map(Into::into),
            kind: kind.into(),
            text,
        });
        self.last.send_replace(seq);
    }

    /// The events after number `seq`.
    pub fn after(&self, seq: u64) -> Vec<Event> {
        let events = self.events();
        events.iter().filter(|e| e.seq > seq).cloned().collect()
    }

    /// Waits until there is an event after number `seq`.
    pub async fn wait(&self, seq: u64) {
        // The sender is `self`: it cannot be gone.
        let _ = self.last.subscribe().wait_for(|last| *last > seq).await;
    }
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as u64)
}
