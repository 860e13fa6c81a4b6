// SPDX-License-Identifier: MIT OR Apache-2.0
//! Consoles: an upgraded connection carries the bytes of both directions as
//! they are. It begins with the latest output and ends with the domain.

use super::Shared;
use crate::console::{Hub, KEEP};
use crate::problem::{Answer, Problem};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The name of the protocol in `Upgrade`.
pub const PROTOCOL: &str = "hv-console";

#[derive(Deserialize)]
pub struct ConsoleQuery {
    /// Bytes of earlier output to begin with.
    replay: Option<u64>,
}

pub async fn attach(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<ConsoleQuery>,
    request: Request,
) -> Answer<Response> {
    let target = daemon.find(&name)?;
    let name = target.name();
    let Some(entry) = target.entry else {
        let message = match target.info.domain {
            0 => "the control domain's console is not hvd's".into(),
            _ => format!("`{name}` was not made by hvd, which has no console of it"),
        };
        return Err(Problem::new("refused", message));
    };
    let hub = entry.hub.clone();
    let from = hub.position(query.replay.unwrap_or(KEEP as u64));
    let wanted = request.headers().get(header::UPGRADE);
    if wanted.is_none_or(|v| v != PROTOCOL) {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return Ok((kind, hub.read(from).bytes).into_response());
    }
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => carry(TokioIo::new(stream), &hub, from).await,
            Err(e) => tracing::debug!("a console client left early: {e}"),
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Carries bytes until the client leaves or the console ends.
async fn carry<S>(stream: S, hub: &Arc<Hub>, mut position: u64)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let output = async {
        loop {
            let piece = hub.read(position);
            position = piece.next;
            if piece.lost > 0 {
                let note = format!("\r\n[{} bytes of output were lost]\r\n", piece.lost);
                writer.write_all(note.as_bytes()).await?;
            }
            writer.write_all(&piece.bytes).await?;
            writer.flush().await?;
            if piece.last {
                return writer.shutdown().await;
            }
            hub.wait(position).await;
        }
    };
    let input = async {
        let mut buffer = [0; 1024];
        loop {
            match reader.read(&mut buffer).await? {
                0 => return Ok(()),
                n => hub.write(buffer[..n].to_vec()).await,
            }
        }
    };
    let ended: std::io::Result<()> = tokio::select! {
        ended = output => ended,
        ended = input => ended,
    };
    if let Err(e) = ended {
        tracing::debug!("a console client left: {e}");
    }
}
