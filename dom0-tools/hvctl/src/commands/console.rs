// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's console on this terminal.
//!
//! The terminal is put into raw mode, so that every key goes to the guest but
//! Ctrl-], and back however this ends. Without a terminal (a pipe), bytes are
//! carried as they are until the input ends and the output falls quiet.

use super::{Context, domains};
use crate::client::Stream;
use crate::failure::{Failure, Outcome};
use crate::style::put_bytes;
use hv_toolstack::api::{Doc, Events};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Ctrl-].
const DETACH: u8 = 0x1d;
/// After the input's end, output that pauses for so long is taken to be over.
const QUIET: Duration = Duration::from_millis(700);

/// A terminal in raw mode; as it was when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Reads standard input on a thread of its own, for no other way suits files,
/// pipes and terminals alike.
fn keys() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.blocking_send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// How an attachment ended.
#[derive(PartialEq, Eq)]
enum End {
    Detached,
    Input,
    Domain,
}

/// `hvctl console --log`.
pub async fn log(c: &Context, name: &str) -> Outcome<()> {
    let path = format!("{}/console", domains::path(name));
    put_bytes(&c.client.bytes(&path).await?);
    Ok(())
}

/// `hvctl console`.
pub async fn attach(c: &Context, name: &str) -> Outcome<()> {
    let path = format!("{}/console", domains::path(name));
    let stream = match c.client.upgrade(&path, "hv-console").await {
        Ok(stream) => stream,
        Err(e) => return Err(explain(c, name, e).await),
    };
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("[console of {name}; Ctrl-] detaches]");
    }
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|e| Failure::new("failed", format!("cannot catch signals: {e}")))?;
    let end = {
        // Restored when this block ends, whichever way.
        let _raw = if terminal { Raw::enter() } else { None };
        tokio::select! {
            end = carry(stream, terminal) => end,
            _ = terminate.recv() => Ok(End::Detached),
        }
    };
    if terminal {
        match &end {
            Ok(End::Domain) => eprintln!("\n[{}]", last_words(c, name).await),
            Ok(_) => eprintln!("\n[detached from {name}]"),
            Err(_) => eprintln!(),
        }
    }
    end.map(drop).map_err(|e| Failure::new("failed", format!("the console was cut off: {e}")))
}

async fn carry(stream: Stream, terminal: bool) -> std::io::Result<End> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut keys = keys();
    let mut input_ended = false;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            n = reader.read(&mut buffer) => match n? {
                0 => return Ok(End::Domain),
                n => put_bytes(&buffer[..n]),
            },
            typed = keys.recv(), if !input_ended => match typed {
                Some(bytes) => {
                    let detach = bytes.iter().position(|b| terminal && *b == DETACH);
                    writer.write_all(&bytes[..detach.unwrap_or(bytes.len())]).await?;
                    writer.flush().await?;
                    if detach.is_some() {
                        return Ok(End::Detached);
                    }
                }
                None => input_ended = true,
            },
            () = tokio::time::sleep(QUIET), if input_ended => return Ok(End::Input),
        }
    }
}

/// What happened to a domain that is gone.
async fn last_words(c: &Context, name: &str) -> String {
    let events: Outcome<Doc<Events>> = c.client.get("/v1/events").await;
    let about = |e: &&hv_toolstack::api::Event| e.name.as_deref() == Some(name);
    events
        .ok()
        .and_then(|d| d.body.events.iter().rev().find(about).cloned())
        .map_or_else(|| format!("{name} ended"), |e| format!("{name}: {}", e.text))
}

/// A domain that was there a moment ago and has no console now has ended.
async fn explain(c: &Context, name: &str, e: Failure) -> Failure {
    if e.code() != "not-found" {
        return e;
    }
    match last_words(c, name).await {
        words if words.ends_with(" ended") => e,
        words => Failure::new("not-found", words),
    }
}
