// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking the daemon: HTTP over its Unix socket, a connection per request.

use crate::failure::{Failure, Outcome};
use http_body_util::{BodyExt, Full};
use hv_toolstack::api::{self, Doc};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// The daemon's socket unless told otherwise.
const SOCKET: &str = "/run/hv/hvd.sock";
/// How long a daemon may take to start.
const STARTING: Duration = Duration::from_secs(10);
/// How long to wait for one that was told to start but does not run yet.
const GRACE: Duration = Duration::from_secs(1);

/// An upgraded connection.
pub type Stream = TokioIo<hyper::upgrade::Upgraded>;

/// Where to ask.
pub struct Client {
    socket: PathBuf,
}

/// A path's segment: what could be taken for something else is escaped.
pub fn segment(text: &str) -> String {
    let escape = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => (b as char).to_string(),
        _ => format!("%{b:02X}"),
    };
    match text {
        "" | "." | ".." => text.bytes().map(|b| format!("%{b:02X}")).collect(),
        _ => text.bytes().map(escape).collect(),
    }
}

impl Client {
    /// At the socket named, or in the environment, or where it always is.
    pub fn new(socket: Option<PathBuf>) -> Self {
        let named = socket.or_else(|| std::env::var_os("HV_SOCKET").map(Into::into));
        Self { socket: named.unwrap_or_else(|| SOCKET.into()) }
    }

    /// Asks, and takes a document as the answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<Doc<T>> {
        self.ask("GET", path, &()).await
    }

    /// Has something done; an empty tuple is no body.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<Doc<T>> {
        let body = serde_json::to_string(body).unwrap_or_default();
        let body = if body == "null" { String::new() } else { body };
        let response = self.send(method, path, body, None).await?;
        let ok = response.status().is_success();
        let bytes = self.collect(response).await?;
        match ok {
            true => serde_json::from_slice(&bytes).map_err(|e| garbled(&e.to_string())),
            false => Err(failure(&bytes)),
        }
    }

    /// Asks, and takes bytes as the answer.
    pub async fn bytes(&self, path: &str) -> Outcome<Vec<u8>> {
        let response = self.send("GET", path, String::new(), None).await?;
        let ok = response.status().is_success();
        let bytes = self.collect(response).await?;
        match ok {
            true => Ok(bytes),
            false => Err(failure(&bytes)),
        }
    }

    /// Turns a connection into a stream of another protocol.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> Outcome<Stream> {
        let response = self.send("GET", path, String::new(), Some(protocol)).await?;
        if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
            return Err(failure(&self.collect(response).await?));
        }
        let stream = hyper::upgrade::on(response).await;
        stream.map(TokioIo::new).map_err(|e| garbled(&e.to_string()))
    }

    async fn collect(&self, response: Response<Incoming>) -> Outcome<Vec<u8>> {
        let body = response.into_body().collect().await;
        let body = body.map_err(|e| lost(&e.to_string()))?;
        Ok(body.to_bytes().to_vec())
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: String,
        upgrade: Option<&str>,
    ) -> Outcome<Response<Incoming>> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|e| lost(&e.to_string()))?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header("host", "hv");
        if let Some(protocol) = upgrade {
            request = request.header("connection", "upgrade").header("upgrade", protocol);
        }
        let request = request
            .body(Full::<Bytes>::from(body))
            .map_err(|e| Failure::new("failed", format!("cannot ask for {path}: {e}")))?;
        sender.send_request(request).await.map_err(|e| lost(&e.to_string()))
    }

    /// Connects; waits for a daemon that is just starting.
    async fn connect(&self) -> Outcome<UnixStream> {
        let start = Instant::now();
        loop {
            let e = match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(e) => e,
            };
            let absent = matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
            let patience = match starting(&self.socket) {
                true => STARTING,
                false if Path::new("/dev/hvx/hypercall").exists() => GRACE,
                false => Duration::ZERO,
            };
            if !absent || start.elapsed() >= patience {
                return Err(self.unreachable(&e));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    fn unreachable(&self, e: &Error) -> Failure {
        let socket = self.socket.display();
        let failure = |message: String| Failure::new("no-daemon", message);
        if e.kind() == ErrorKind::PermissionDenied {
            return failure(format!("you may not talk to hvd at {socket}"))
                .hint("be root, or use sudo");
        }
        if self.socket == Path::new(SOCKET) && !Path::new("/dev/hvx").exists() {
            return failure("this system does not run on hv: /dev/hvx is missing".into())
                .hint("boot hv from the boot menu, with a kernel made for its control domain");
        }
        failure(format!("hvd does not run: cannot connect to {socket}: {e}"))
            .hint("start it: `hvd --detach`")
    }
}

/// Whether a daemon that is not listening yet holds its lock.
fn starting(socket: &Path) -> bool {
    let Ok(lock) = std::fs::File::open(socket.with_file_name("hvd.lock")) else {
        return false;
    };
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

fn lost(e: &str) -> Failure {
    Failure::new("no-daemon", format!("hvd ended the connection: {e}"))
        .hint("it may have been restarted: try again, and look at its log")
}

fn garbled(e: &str) -> Failure {
    Failure::new("failed", format!("hvd's answer is not understood: {e}"))
        .hint("hvctl and hvd should be of the same version: see `hvctl version`")
}

fn failure(body: &[u8]) -> Failure {
    match serde_json::from_slice::<Doc<api::Failure>>(body) {
        Ok(document) => document.body.error.into(),
        Err(_) => garbled(&String::from_utf8_lossy(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("web-1.x"), "web-1.x");
        assert_eq!(segment("a/b?c ä"), "a%2Fb%3Fc%20%C3%A4");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
