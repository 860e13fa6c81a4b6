// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands about the host, the log and what happened.

use super::{Context, domains, show};
use crate::failure::{Exit, Outcome};
use crate::style::put;
use hv_toolstack::api::{Audit, DebugKey, DebugKeyRequest, Doc, Doctor, Events, Host, Log};
use hv_toolstack::units::format_uptime;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a request waits for news.
const WAIT: &str = "wait_ms=20000";

async fn host(c: &Context) -> Outcome<Doc<Host>> {
    c.client.get("/v1/host").await
}

pub async fn info(c: &Context) -> Outcome<()> {
    let document = host(c).await?;
    c.show(&document, |body| show::host(body, c.paint));
    Ok(())
}

pub async fn dmesg(c: &Context, follow: bool) -> Outcome<()> {
    let (mut cursor, mut all) = (0, String::new());
    let mut wait = "";
    loop {
        let path = format!("/v1/host/log?cursor={cursor}&{wait}");
        let log: Doc<Log> = c.client.get(&path).await?;
        let piece = log.body.text;
        cursor = log.body.next;
        match piece.is_empty() {
            false if c.json => all += &piece,
            false => put(&show::log(&piece, c.paint)),
            true if follow => wait = WAIT,
            true => break,
        }
    }
    if c.json {
        let (text, next) = (all, cursor);
        c.show(&Doc::of(Log { text, next }), |_| String::new());
    }
    Ok(())
}

pub async fn events(c: &Context, follow: bool) -> Outcome<()> {
    let (mut after, mut wait) = (0, "");
    loop {
        let path = format!("/v1/events?after={after}&{wait}");
        let document: Doc<Events> = c.client.get(&path).await?;
        c.show(&document, |body| show::events(&body.events, c.paint));
        if !follow {
            return Ok(());
        }
        after = document.body.events.last().map_or(after, |e| e.seq);
        wait = WAIT;
    }
}

pub async fn audit(c: &Context) -> Outcome<Exit> {
    let document: Doc<Audit> = c.client.ask("POST", "/v1/host/audit", &()).await?;
    let found = document.body.discrepancies;
    c.show(&document, |_| match found {
        0 => "the core's frame tables agree\n".into(),
        n => format!("{n} discrepancies; `hvctl dmesg` has a line for each\n"),
    });
    Ok(if found == 0 { Exit::Done } else { Exit::Failed })
}

pub async fn debug_keys(c: &Context, key: &str) -> Outcome<()> {
    let request = DebugKeyRequest { key: key.into() };
    let document: Doc<DebugKey> = c.client.ask("POST", "/v1/host/debug-keys", &request).await?;
    c.show(&document, |body| body.text.clone());
    Ok(())
}

pub async fn doctor(c: &Context) -> Outcome<Exit> {
    let document: Doc<Doctor> = c.client.get("/v1/doctor").await?;
    c.show(&document, |body| show::doctor(body, c.paint));
    let ok = document.body.ok;
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

#[derive(Serialize)]
struct Uptimes {
    host_seconds: u64,
    domains: Vec<Uptime>,
}

#[derive(Serialize)]
struct Uptime {
    id: u16,
    name: String,
    /// Not known of domains that the daemon did not make.
    seconds: Option<u64>,
}

pub async fn uptime(c: &Context, names: &[String]) -> Outcome<()> {
    let host = host(c).await?.body;
    let host_seconds = host.uptime_ns / 1_000_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| d.as_secs());
    let since = |started: u64| now.saturating_sub(started);
    let found = domains::some(c, names).await?.body.domains;
    let uptimes = found.into_iter().map(|d| Uptime {
        id: d.id,
        seconds: match d.id {
            0 => Some(host_seconds),
            _ => d.started_unix.map(since),
        },
        name: d.name,
    });
    let document = Doc::of(Uptimes { host_seconds, domains: uptimes.collect() });
    c.show(&document, |body| {
        let rows = body.domains.iter().map(|d| {
            let time = d.seconds.map_or("-".into(), format_uptime);
            vec![d.name.clone(), d.id.to_string(), time]
        });
        show::uptimes(rows, c.paint)
    });
    Ok(())
}

#[derive(Serialize)]
struct Versions {
    hvctl: &'static str,
    hvd: Option<String>,
    core: Option<String>,
    interface: Option<String>,
}

pub async fn version(c: &Context) -> Outcome<()> {
    // What cannot be asked is not known; that is no failure here.
    let host = host(c).await.ok().map(|d| d.body);
    let document = Doc::of(Versions {
        hvctl: env!("CARGO_PKG_VERSION"),
        hvd: host.as_ref().map(|h| h.tools_version.clone()),
        core: host.as_ref().map(|h| h.core_version.clone()),
        interface: host.map(|h| h.interface),
    });
    c.show(&document, |v| {
        let or = |text: &Option<String>| text.clone().unwrap_or("(cannot be asked)".into());
        crate::table::pairs(
            &[
                ("hvctl", v.hvctl.into()),
                ("hvd", or(&v.hvd)),
                ("core", or(&v.core)),
                ("interface", or(&v.interface)),
            ],
            c.paint,
        )
    });
    Ok(())
}
