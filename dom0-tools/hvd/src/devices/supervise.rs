// SPDX-License-Identifier: MIT OR Apache-2.0
//! The task of a device: keeps the connection to its backend, notes its state,
//! passes requests on, and starts the backend again when it has died, later and
//! later if it does not live long.

use super::launch::Running;
use super::{DeviceRecord, device_dir, last_words};
use crate::daemon::{Daemon, Entry};
use hv_client::Calls;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Waiting times between two lives that were short.
const BACKOFF: [u64; 6] = [20, 100, 500, 2000, 5000, 10_000];
/// A life shorter than this is short.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// How long a request to a backend may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `waiting` for the guest's driver, `connected`, `held`, `quarantined`,
    /// `removing`, `removed`, or `restarting`.
    pub phase: String,
    /// Why it is held or quarantined.
    pub reason: Option<String>,
    /// Process that serves it.
    pub pid: Option<i32>,
    /// How often the backend was started again.
    pub restarts: u32,
}

type Reply = oneshot::Sender<Result<Value, String>>;

/// A device that is supervised.
pub struct Device {
    /// What it is.
    pub record: DeviceRecord,
    status: watch::Receiver<Status>,
    asks: mpsc::Sender<(Value, Reply)>,
    running: Arc<Mutex<Option<Box<dyn Running>>>>,
    task: JoinHandle<()>,
    dir: PathBuf,
}

impl Device {
    /// What is known of it.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits for a state.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// For requests to the backend.
    pub fn line(&self) -> Line {
        Line(self.asks.clone())
    }

    /// Ends the supervision, leaving the backend as it is.
    pub fn abandon(&self) {
        self.task.abort();
    }

    /// Ends supervision and backend, and removes the device's files. Blocks.
    pub fn end(self) {
        self.task.abort();
        let running = lock(&self.running).take();
        super::end(&self.dir, running);
    }
}

/// A way to ask a backend.
#[derive(Clone)]
pub struct Line(mpsc::Sender<(Value, Reply)>);

impl Line {
    /// Asks; an error is a sentence.
    pub async fn ask(&self, request: Value) -> Result<Value, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "its backend is not there just now".to_string();
        self.0.try_send((request, reply)).map_err(|_| gone())?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err("its backend does not answer".into()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Supervises a device whose backend was started (`running`), or is a
/// predecessor's.
pub fn supervise(
    daemon: &Arc<Daemon>,
    entry: &Arc<Entry>,
    record: DeviceRecord,
    running: Option<Box<dyn Running>>,
) -> Device {
    let uuid = entry.live().record.uuid;
    let dir = device_dir(daemon, uuid, record.slot);
    let (status, seen) = watch::channel(Status { phase: "restarting".into(), ..Status::default() });
    let (asks, questions) = mpsc::channel(16);
    let running = Arc::new(Mutex::new(running));
    let task = Task {
        daemon: Arc::downgrade(daemon),
        entry: Arc::downgrade(entry),
        record: record.clone(),
        dir: dir.clone(),
        status,
        questions,
        running: running.clone(),
        pending: HashMap::new(),
        next: 1,
    };
    let task = tokio::spawn(task.run());
    Device { record, status: seen, asks, running, task, dir }
}

struct Task {
    daemon: Weak<Daemon>,
    entry: Weak<Entry>,
    record: DeviceRecord,
    dir: PathBuf,
    status: watch::Sender<Status>,
    questions: mpsc::Receiver<(Value, Reply)>,
    running: Arc<Mutex<Option<Box<dyn Running>>>>,
    pending: HashMap<u64, Reply>,
    next: u64,
}

impl Task {
    async fn run(mut self) {
        let mut short_lives = 0;
        loop {
            let began = Instant::now();
            let removed = match self.connect().await {
                Some(stream) => self.talk(stream).await,
                None => false,
            };
            self.pending.clear();
            if removed {
                self.status.send_modify(|s| s.phase = "removed".into());
                return;
            }
            short_lives = if began.elapsed() < SHORT_LIFE { short_lives + 1 } else { 1 };
            let wait = BACKOFF[(short_lives - 1).min(BACKOFF.len() - 1)];
            if !self.start_again(Duration::from_millis(wait)).await {
                return;
            }
        }
    }

    /// Connects to the backend; `None` if it ended.
    async fn connect(&self) -> Option<UnixStream> {
        let socket = self.dir.join("socket");
        let start = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(&socket).await {
                return Some(stream);
            }
            let ended = lock(&self.running).as_mut().is_none_or(|r| r.ended().is_some());
            if ended || start.elapsed() > super::BEGINNING {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Talks until the backend is gone; whether the device was removed.
    async fn talk(&mut self, stream: UnixStream) -> bool {
        let pid = stream.peer_cred().ok().and_then(|c| c.pid());
        self.status.send_modify(|s| s.pid = pid);
        let (reader, mut writer) = stream.into_split();
        let mut lines: Lines<BufReader<OwnedReadHalf>> = BufReader::new(reader).lines();
        loop {
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => {
                        let message = serde_json::from_str(&line).unwrap_or_default();
                        if self.heard(message) {
                            return true;
                        }
                    }
                    _ => return false,
                },
                Some((request, reply)) = self.questions.recv() => {
                    if !self.say(&mut writer, request, reply).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn say(&mut self, to: &mut OwnedWriteHalf, mut request: Value, reply: Reply) -> bool {
        self.next += 1;
        request["id"] = self.next.into();
        self.pending.insert(self.next, reply);
        to.write_all((request.to_string() + "\n").as_bytes()).await.is_ok()
    }

    /// Takes a message; whether it says that the device was removed.
    fn heard(&mut self, message: Value) -> bool {
        match message["event"].as_str() {
            Some("removed") => return true,
            Some("state") => self.state(&message),
            _ => {
                let id = message["id"].as_u64().unwrap_or(0);
                if let Some(reply) = self.pending.remove(&id) {
                    let _ = reply.send(match message["error"].as_str() {
                        Some(error) => Err(error.into()),
                        None => Ok(message["ok"].clone()),
                    });
                }
            }
        }
        false
    }

    fn state(&self, message: &Value) {
        let phase = message["phase"].as_str().unwrap_or("unknown").to_string();
        let reason = message["reason"].as_str().map(str::to_owned);
        let before = self.status.borrow().clone();
        let news = before.phase != phase;
        self.status.send_modify(|s| (s.phase, s.reason) = (phase.clone(), reason.clone()));
        if !news {
            return;
        }
        let what = format!("{} `{}`", self.record.kind, self.record.name);
        match (&*phase, reason) {
            ("held", Some(why)) => {
                self.note(&format!("{what} is held: {why}"));
                self.pause();
            }
            ("quarantined", Some(why)) => self.note(&format!("{what} is quarantined: {why}")),
            _ => {}
        }
    }

    /// Pauses the domain of a device whose requests are held.
    fn pause(&self) {
        if let (Some(daemon), Some(entry)) = (self.daemon.upgrade(), self.entry.upgrade()) {
            pause(&daemon, &entry);
        }
    }

    fn note(&self, text: &str) {
        let (Some(daemon), Some(entry)) = (self.daemon.upgrade(), self.entry.upgrade()) else {
            return;
        };
        let (id, name) = (entry.id(), entry.name());
        daemon.journal.write("device", id.map(|id| (id, &*name)), text);
    }

    /// Starts a backend that died; `false` if nobody wants it any more.
    async fn start_again(&mut self, wait: Duration) -> bool {
        self.status.send_modify(|s| {
            (s.phase, s.pid) = ("restarting".into(), None);
            s.restarts += 1;
        });
        tokio::time::sleep(wait).await;
        let how = lock(&self.running).as_mut().and_then(|running| running.ended());
        let why = words(&self.dir, how);
        self.note(&format!(
            "the backend of {} `{}` ended{why}",
            self.record.kind, self.record.name
        ));
        let Some(daemon) = self.daemon.upgrade() else { return false };
        if let Some(mut old) = lock(&self.running).take() {
            // One that only hung up; and one that ended is waited for here.
            old.kill();
        }
        match daemon.launcher.launch(&self.record.kind, &self.dir) {
            Ok(running) => *lock(&self.running) = Some(running),
            Err(e) => self.note(&format!("its backend cannot be started: {e}")),
        }
        true
    }
}

/// Pauses a domain, once, however many ask.
pub fn pause(daemon: &Daemon, entry: &Entry) {
    // The core counts pauses: looking and pausing are one step.
    let live = entry.live();
    let Some(id) = live.record.id else { return };
    let info = daemon.core.domain_info(id).ok().flatten();
    if info.is_some_and(|info| info.state & hv_abi::domain::state::PAUSED != 0) {
        return;
    }
    if let Err(e) = daemon.core.domain_pause(id) {
        tracing::warn!("domain {id} cannot be paused: {e}");
    }
}

fn words(dir: &Path, how: Option<String>) -> String {
    match (how, last_words(dir)) {
        (Some(how), Some(said)) => format!(" ({how}; it said: {said})"),
        (Some(how), None) => format!(" ({how})"),
        (None, _) => String::new(),
    }
}
