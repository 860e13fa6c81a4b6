// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real daemon on a thread, over the fake core, and the real command.

use hv_client::Core;
use hv_client::fake::{FakeCore, GuestConsole, bzimage};
use hv_toolstack::layout;
use hvd::paths::Paths;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub struct Bed {
    pub core: FakeCore,
    pub dir: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Bed {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("kernel", &bzimage(50_000));
        write("initrd", &[1; 9000]);
        write(
            "web.toml",
            b"name = \"web\"\nkernel = \"kernel\"\ninitrd = \"initrd\"\nmemory = \"32M\"\n",
        );
        let mut bed = Self { core: FakeCore::new(256 << 20), dir, running: None };
        bed.start();
        bed
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&mut self) {
        let core: Arc<dyn Core> = Arc::new(self.core.clone());
        let paths = Paths::new(self.path("run"));
        let (kill, killed) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    result = hvd::serve(core, paths, std::future::pending()) => result.unwrap(),
                    _ = killed => {}
                }
            });
        });
        self.running = Some((kill, thread));
        let socket = self.path("run/hvd.sock");
        self.until("it listens", || socket.exists());
    }

    pub fn stop(&mut self) {
        if let Some((kill, thread)) = self.running.take() {
            let _ = kill.send(());
            thread.join().unwrap();
        }
    }

    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The command with its environment, in the bed's directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hvctl"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("HV_SOCKET", self.path("run/hvd.sock"))
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command; the bed's directory is shown as DIR.
    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let dir = self.dir.path().display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&dir, "DIR");
        Ran {
            code: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Runs the command, which must succeed without a word of error.
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{args:?}");
        ran.out
    }

    /// Runs the command, which must fail; a transcript of it.
    pub fn fails(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_ne!(ran.code, 0, "{args:?}: {}", ran.out);
        format!("$ hvctl {}\n{}{}[{}]\n", args.join(" "), ran.out, ran.err, ran.code)
    }

    pub fn guest(&self, id: u16) -> GuestConsole {
        self.core.guest_console(id, layout::CONSOLE, 1).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(Path::new(name)), text).unwrap();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop();
    }
}
