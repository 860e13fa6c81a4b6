// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's console: the ring on one side, any number of readers and writers
//! on the other.
//!
//! Output goes from the ring into a [`Hub`], which keeps the latest 64 KiB and
//! outlives restarts of the domain. A reader has a position of its own, so that
//! a slow one loses text and nobody waits for it. Input waits in a short queue,
//! so that a writer is slowed to the guest's pace. What the guest puts into the
//! ring's indices is checked by `hv-ring`; a guest that breaks its ring loses
//! what was in it and is named in the journal once.

use crate::journal::Journal;
use crate::port::AsyncPort;
use hv_abi::{DomainId, PAGE_SIZE};
use hv_client::{Core, Error, EventPort, ForeignMap};
use hv_ring::console::ConsoleEnd;
use hv_toolstack::layout;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Bytes of output that are kept.
pub const KEEP: usize = 64 * 1024;
/// Pieces of input that wait.
const INPUT_PIECES: usize = 16;
/// Bytes taken from a ring before others get their turn.
const BURST: usize = 32 * 1024;

/// See the module.
pub struct Hub {
    text: Mutex<Text>,
    news: watch::Sender<u64>,
    input: mpsc::Sender<Vec<u8>>,
    queue: Arc<AsyncMutex<mpsc::Receiver<Vec<u8>>>>,
}

#[derive(Default)]
struct Text {
    kept: VecDeque<u8>,
    /// Bytes ever; the position behind the last kept one.
    total: u64,
    closed: bool,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Position behind them.
    pub next: u64,
    /// Bytes that were gone before they could be read.
    pub lost: u64,
    /// Whether nothing will follow.
    pub last: bool,
}

impl Default for Hub {
    fn default() -> Self {
        let (input, queue) = mpsc::channel(INPUT_PIECES);
        Self {
            text: Mutex::default(),
            news: watch::Sender::new(0),
            input,
            queue: Arc::new(AsyncMutex::new(queue)),
        }
    }
}

impl Hub {
    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends output.
    pub fn append(&self, bytes: &[u8]) {
        let total = {
            let mut text = self.text();
            text.kept.extend(bytes);
            let excess = text.kept.len().saturating_sub(KEEP);
            text.kept.drain(..excess);
            text.total += bytes.len() as u64;
            text.total
        };
        self.news.send_replace(total);
    }

    /// The position `back` bytes before the end, or the oldest there is.
    pub fn position(&self, back: u64) -> u64 {
        let text = self.text();
        text.total - back.min(text.kept.len() as u64)
    }

    /// What there is from a position on.
    pub fn read(&self, from: u64) -> Piece {
        let text = self.text();
        let oldest = text.total - text.kept.len() as u64;
        let start = from.clamp(oldest, text.total);
        let skip = (start - oldest) as usize;
        Piece {
            bytes: text.kept.iter().skip(skip).copied().collect(),
            next: text.total,
            lost: start.saturating_sub(from),
            last: text.closed,
        }
    }

    /// Waits for output behind a position, or for the end.
    pub async fn wait(&self, position: u64) {
        let mut news = self.news.subscribe();
        // The sender is `self`: it cannot be gone.
        let _ = news.wait_for(|total| *total > position || self.text().closed).await;
    }

    /// Queues input; waits while the guest is slow.
    pub async fn write(&self, bytes: Vec<u8>) {
        // The receiver is `self.queue`: it cannot be gone.
        let _ = self.input.send(bytes).await;
    }

    /// No output will follow.
    pub fn close(&self) {
        self.text().closed = true;
        self.news.send_modify(|_| {});
    }
}

/// A domain's console ring and its port, ours to serve.
pub struct Ring {
    page: ForeignMap,
    port: EventPort,
}

impl Ring {
    /// Maps a domain's console page and joins its port.
    pub fn open(core: &dyn Core, domain: DomainId, port: u32) -> Result<Self, Error> {
        Ok(Self {
            page: core.map(domain, layout::CONSOLE, PAGE_SIZE as usize)?,
            port: EventPort::bind(core, domain, port)?,
        })
    }

    /// Serves the ring until [`Service::stop`].
    pub fn serve(
        self,
        hub: Arc<Hub>,
        journal: Arc<Journal>,
        domain: DomainId,
        name: &str,
    ) -> std::io::Result<Service> {
        let port = AsyncPort::new(self.port)?;
        let (stop, stopped) = oneshot::channel();
        let mut worker = Worker {
            end: ConsoleEnd::backend(&self.page),
            page: self.page,
            port,
            hub,
            journal,
            about: (domain, name.to_string()),
            blamed: false,
        };
        let task = tokio::spawn(async move { worker.run(stopped).await });
        Ok(Service { stop, task })
    }
}

/// A ring that is being served.
pub struct Service {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Service {
    /// Takes what is left in the ring, and lets go of page and port.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Worker {
    page: ForeignMap,
    port: AsyncPort,
    end: ConsoleEnd,
    hub: Arc<Hub>,
    journal: Arc<Journal>,
    about: (DomainId, String),
    blamed: bool,
}

impl Worker {
    async fn run(&mut self, mut stopped: oneshot::Receiver<()>) {
        let queue = self.hub.queue.clone();
        let mut queue = queue.lock().await;
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let (received, more) = self.receive();
            let sent = self.send(&pending);
            pending.drain(..sent);
            if (received || sent > 0)
                && let Err(e) = self.port.port().send()
            {
                // The domain is going; the lifecycle will stop us.
                tracing::debug!("console of domain {}: {e}", self.about.0);
            }
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = tokio::task::yield_now(), if more => {}
                event = self.port.event() => if let Err(e) = event {
                    tracing::warn!("console of domain {}: {e}", self.about.0);
                    break;
                },
                Some(bytes) = queue.recv(), if pending.is_empty() => pending = bytes,
            }
        }
        while self.receive().1 {}
    }

    /// Whether anything came, and whether there may be more.
    fn receive(&mut self) -> (bool, bool) {
        let mut buffer = [0; hv_abi::console::OUT_LEN];
        let mut taken = 0;
        while taken < BURST {
            match self.end.receive(&self.page, &mut buffer) {
                Ok(0) => return (taken > 0, false),
                Ok(n) => {
                    self.hub.append(&buffer[..n]);
                    taken += n;
                }
                Err(fault) => {
                    self.blame(fault);
                    self.end.resync(&self.page);
                    return (taken > 0, false);
                }
            }
        }
        (true, true)
    }

    /// How much of the input is done with.
    fn send(&mut self, pending: &[u8]) -> usize {
        match self.end.send(&self.page, pending) {
            Ok(n) => n,
            Err(fault) => {
                self.blame(fault);
                pending.len()
            }
        }
    }

    fn blame(&mut self, fault: hv_ring::PeerFault) {
        if !std::mem::replace(&mut self.blamed, true) {
            let about = Some((self.about.0, &*self.about.1));
            let text = format!("{fault}; what was in it is lost");
            self.journal.write("console", about, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_have_positions_and_slow_ones_lose() {
        let hub = Hub::default();
        hub.append(b"hello ");
        let from = hub.position(u64::MAX);
        hub.append(b"world");
        let piece = hub.read(from);
        assert_eq!((&*piece.bytes, piece.next, piece.lost), (&b"hello world"[..], 11, 0));
        assert_eq!(hub.read(11).bytes, b"");
        assert_eq!(hub.position(5), 6);
        hub.append(&vec![b'x'; KEEP]);
        let piece = hub.read(6);
        assert_eq!((piece.bytes.len(), piece.lost), (KEEP, 5));
        // A position from another life is no panic.
        assert_eq!(hub.read(u64::MAX).bytes, b"");
        hub.close();
        assert!(hub.read(0).last);
    }
}
