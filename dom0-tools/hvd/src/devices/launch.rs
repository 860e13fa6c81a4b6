// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting and stopping backends. Tests put threads in the place of processes.

use rustix::process::{Pid, Signal};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a backend may take to end when asked.
const ENDING: Duration = Duration::from_secs(10);

/// Starts backends.
pub trait Launcher: Send + Sync {
    /// Starts the backend of a kind of device for a device's directory.
    fn launch(&self, kind: &str, dir: &Path) -> io::Result<Box<dyn Running>>;
}

/// A backend that was started by us.
pub trait Running: Send {
    /// How it ended, once it has.
    fn ended(&mut self) -> Option<String>;
    /// Ends it at once.
    fn kill(&mut self);
}

/// Name of the program for a kind of device.
pub fn program(kind: &str) -> &'static str {
    match kind {
        "network" => "hv-net",
        _ => "hv-blk",
    }
}

/// Processes, from the directory of this program.
pub struct Processes;

impl Launcher for Processes {
    fn launch(&self, kind: &str, dir: &Path) -> io::Result<Box<dyn Running>> {
        let own = std::env::current_exe()?;
        let path = own.parent().map_or_else(PathBuf::new, |dir| dir.join(program(kind)));
        let log = OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        let child = Command::new(path)
            .arg(dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Out of reach of the terminal's Ctrl-C and of our end.
            .process_group(0)
            .spawn()?;
        Ok(Box::new(Process(child)))
    }
}

struct Process(Child);

impl Running for Process {
    fn ended(&mut self) -> Option<String> {
        match self.0.try_wait() {
            Ok(Some(status)) => Some(format!("its backend ended: {status}")),
            Ok(None) => None,
            Err(e) => Some(format!("its backend cannot be watched: {e}")),
        }
    }

    fn kill(&mut self) {
        // One that has ended already is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends a backend, ours or a predecessor's: asks it, and kills it if that does
/// not help. Returns when it is gone.
pub fn stop(socket: &Path, running: Option<Box<dyn Running>>) {
    let mut pid = None;
    if let Ok(mut stream) = UnixStream::connect(socket) {
        pid = rustix::net::sockopt::socket_peercred(&stream).ok().map(|c| c.pid);
        let _ = stream.set_read_timeout(Some(ENDING));
        let request = json!({ "id": 0, "do": "quit" }).to_string() + "\n";
        if stream.write_all(request.as_bytes()).is_ok() {
            // Reads to the end: the backend has let go of everything then.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    match running {
        Some(mut running) => {
            let start = Instant::now();
            while running.ended().is_none() {
                if start.elapsed() > ENDING {
                    return running.kill();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        None => wait_gone(pid),
    }
}

/// Waits for a process that is not our child.
fn wait_gone(pid: Option<Pid>) {
    let own = Pid::from_raw(std::process::id() as i32);
    let Some(pid) = pid.filter(|pid| Some(*pid) != own) else { return };
    let start = Instant::now();
    while rustix::process::test_kill_process(pid).is_ok() {
        if start.elapsed() > ENDING {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
