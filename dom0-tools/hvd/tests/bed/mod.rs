// SPDX-License-Identifier: MIT OR Apache-2.0
//! A daemon on a thread of its own over a fake core, and a client that speaks
//! plain HTTP to it.
#![allow(dead_code, reason = "each test program uses a part of this")]

use hv_client::Core;
use hv_client::fake::{FakeCore, GuestConsole, bzimage};
use hv_toolstack::layout;
use hvd::paths::Paths;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Bed {
    pub core: FakeCore,
    dir: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// A spec as the API takes it.
pub fn spec(bed: &Bed, name: &str) -> Value {
    json!({
        "name": name,
        "kernel": bed.dir.path().join("kernel"),
        "initrd": bed.dir.path().join("initrd"),
        "memory": 32 * MIB,
        "vcpus": 1,
        "on_poweroff": "destroy",
        "on_reboot": "restart",
        "on_crash": "destroy",
    })
}

impl Bed {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kernel"), bzimage(50_000)).unwrap();
        std::fs::write(dir.path().join("initrd"), vec![1; 9000]).unwrap();
        let mut bed = Self { core: FakeCore::new(1024 * MIB), dir, running: None };
        bed.start();
        // The daemon's own ports are part of every baseline.
        bed.until("it listens", || bed.core.counters().ports == 2);
        bed
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn start(&mut self) {
        let core: Arc<dyn Core> = Arc::new(self.core.clone());
        let paths = Paths::new(self.run_dir());
        let (kill, killed) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // Killed: the future is dropped wherever it is.
            runtime.block_on(async {
                tokio::select! {
                    result = hvd::serve(core, paths, std::future::pending()) => result.unwrap(),
                    _ = killed => {}
                }
            });
        });
        self.running = Some((kill, thread));
        let socket = self.run_dir().join("hvd.sock");
        self.until("it answers", || UnixStream::connect(&socket).is_ok());
    }

    pub fn kill(&mut self) {
        if let Some((kill, thread)) = self.running.take() {
            let _ = kill.send(());
            thread.join().unwrap();
        }
    }

    /// The daemon dies at its n-th operation from now: it reaches neither core
    /// nor records from there on.
    pub fn dies_at(&self, n: u64) {
        let (records, aside) = (self.run_dir().join("domains"), self.run_dir().join("aside"));
        self.core.die_at(n, move || std::fs::rename(records, aside).unwrap());
    }

    /// Starts a successor on what the dead daemon left.
    pub fn succeed_the_dead(&mut self) {
        self.kill();
        // Asked now, when nobody can die any more.
        if self.core.is_dead() {
            let _ = std::fs::remove_dir_all(self.run_dir().join("domains"));
            std::fs::rename(self.run_dir().join("aside"), self.run_dir().join("domains")).unwrap();
        }
        self.core.revive();
        self.start();
    }

    /// What happened, or nothing if the daemon does not say.
    pub fn journal(&self) -> String {
        self.ask("GET", "/v1/events", None).1
    }

    /// What a second daemon says.
    pub fn second_daemon(&self) -> String {
        let core: Arc<dyn Core> = Arc::new(self.core.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serve = hvd::serve(core, Paths::new(self.run_dir()), std::future::pending());
        runtime.block_on(serve).unwrap_err().to_string()
    }

    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a request; the answer is still to be read.
    pub fn send(&self, method: &str, path: &str, body: Option<Value>) -> UnixStream {
        let mut stream = UnixStream::connect(self.run_dir().join("hvd.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.map_or(String::new(), |b| b.to_string());
        let len = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: hv\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        stream
    }

    pub fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let mut answer = Vec::new();
        self.send(method, path, body).read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.into())
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn post(&self, path: &str) -> (u16, String) {
        self.ask("POST", path, None)
    }

    pub fn delete(&self, name: &str) -> (u16, String) {
        self.ask("DELETE", &format!("/v1/domains/{name}"), None)
    }

    pub fn create_spec(&self, spec: Value) -> Result<Value, Value> {
        let (status, body) = self.ask("POST", "/v1/domains", Some(json!({ "spec": spec })));
        let body = serde_json::from_str(&body).unwrap();
        if status == 200 { Ok(body) } else { Err(body) }
    }

    pub fn create(&self, name: &str) -> Result<Value, Value> {
        self.create_spec(spec(self, name))
    }

    pub fn create_id(&self, name: &str) -> u16 {
        self.create(name).unwrap()["domain"]["id"].as_u64().unwrap() as u16
    }

    pub fn domain(&self, name: &str) -> Value {
        self.get(&format!("/v1/domains/{name}"))["domain"].clone()
    }

    pub fn names(&self) -> Vec<String> {
        let list = self.get("/v1/domains");
        let domains = list["domains"].as_array().unwrap();
        domains.iter().map(|d| d["name"].as_str().unwrap().to_string()).collect()
    }

    pub fn console(&self, name: &str) -> String {
        let path = format!("/v1/domains/{name}/console");
        self.ask("GET", &path, None).1
    }

    pub fn guest(&self, id: u16) -> GuestConsole {
        self.core.guest_console(id, layout::CONSOLE, 1).unwrap()
    }

    fn record_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.run_dir().join("domains")).unwrap();
        files.map(|f| f.unwrap().path()).collect()
    }

    pub fn records(&self) -> usize {
        self.record_files().len()
    }

    pub fn edit_record(&self, name: &str, edit: impl Fn(&mut Value)) {
        for path in self.record_files() {
            let text = std::fs::read(&path).unwrap();
            let mut record: Value = serde_json::from_slice(&text).unwrap();
            if record["spec"]["name"] == name {
                edit(&mut record);
                std::fs::write(&path, record.to_string()).unwrap();
            }
        }
    }

    /// A file of zeros.
    pub fn file(&self, name: &str, len: u64) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(len).unwrap();
        path
    }

    pub fn attach(&self, name: &str) -> Terminal {
        let mut stream = UnixStream::connect(self.run_dir().join("hvd.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET /v1/domains/{name}/console HTTP/1.1\r\nHost: hv\r\nConnection: upgrade\r\nUpgrade: hv-console\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        Terminal(stream)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One end of an attached console.
pub struct Terminal(UnixStream);

impl Terminal {
    pub fn expect(&mut self, text: &[u8]) -> Vec<u8> {
        let mut got = vec![0; text.len()];
        self.0.read_exact(&mut got).unwrap();
        got
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
    }
}
