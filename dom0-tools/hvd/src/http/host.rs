// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths about the host, the log and what happened.

use super::{Shared, body, document};
use crate::doctor as doctor_room;
use crate::problem::{Answer, Problem};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use hv_abi::host::debug_key;
use hv_client::Calls;
use hv_toolstack::api::{Audit, DebugKey, DebugKeyRequest, Events, Host, Log};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The longest that a request waits for news.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a waiting reader of the log looks, should the core not tell.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub struct LogQuery {
    #[serde(default)]
    cursor: u64,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
pub struct EventsQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait_ms: u64,
}

fn deadline(wait_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(wait_ms).min(WAIT_MAX)
}

pub async fn info(State(daemon): Shared) -> Answer<Response> {
    let interface = daemon.core.version()?;
    let info = daemon.core.host_info()?;
    Ok(document(Host::new(&info, interface)))
}

pub async fn log(State(daemon): Shared, Query(query): Query<LogQuery>) -> Answer<Response> {
    let deadline = deadline(query.wait_ms);
    loop {
        // Told of from here on, so that text that comes now is not missed.
        let news = daemon.log_news.notified();
        let (bytes, next) = daemon.core.log_read(query.cursor)?;
        if !bytes.is_empty() || Instant::now() >= deadline {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Ok(document(Log { text, next }));
        }
        let _ = timeout_at(deadline.min(Instant::now() + LOOK), news).await;
    }
}

pub async fn audit(State(daemon): Shared) -> Answer<Response> {
    let discrepancies = daemon.core.audit()?;
    Ok(document(Audit { discrepancies }))
}

/// Has the core write a part of its state, and answers what it wrote.
pub async fn debug_keys(State(daemon): Shared, bytes: Bytes) -> Answer<Response> {
    let request: DebugKeyRequest = body(&bytes)?;
    let key = debug_key::NAMES.iter().position(|name| *name == request.key);
    let key = key.ok_or_else(|| {
        let names = debug_key::NAMES.join(", ");
        Problem::new("invalid", format!("{:?} is no debug key; there are {names}", request.key))
    })?;
    let (_, before) = rest_of_log(&*daemon.core, 0)?;
    daemon.core.debug_key(key as u64)?;
    let (text, _) = rest_of_log(&*daemon.core, before)?;
    // Other lines may have come in between.
    let own = text.lines().filter_map(|line| line.split_once("debug: "));
    let text = own.map(|(_, line)| format!("{line}\n")).collect();
    Ok(document(DebugKey { key: request.key, text }))
}

/// The log from a position on, and where it ends now.
fn rest_of_log(core: &dyn hv_client::Core, mut cursor: u64) -> Answer<(String, u64)> {
    let mut all = Vec::new();
    // As often as the core's whole log takes, should it go on meanwhile.
    for _ in 0..32 {
        let (bytes, next) = core.log_read(cursor)?;
        if bytes.is_empty() {
            break;
        }
        all.extend(bytes);
        cursor = next;
    }
    Ok((String::from_utf8_lossy(&all).into_owned(), cursor))
}

pub async fn doctor(State(daemon): Shared) -> Answer<Response> {
    Ok(document(doctor_room::run(&daemon)?))
}

pub async fn events(State(daemon): Shared, Query(query): Query<EventsQuery>) -> Answer<Response> {
    let journal = &daemon.journal;
    let _ = timeout_at(deadline(query.wait_ms), journal.wait(query.after)).await;
    let events = journal.after(query.after);
    Ok(document(Events { events }))
}
