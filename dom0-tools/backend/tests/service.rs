// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handshake, the queue and the control socket with a device that only
//! counts, over the fake core.

use hv_backend::service::End;
use hv_backend::testing::{BUFFERS, Guest, PAGE, SIZE};
use hv_backend::{Command, Device, Files, Offer, Service, Started};
use hv_client::Calls;
use hv_client::uring::Range;
use hv_io::slot::{QueueSetup, offset, state};
use hv_io::{feature, status};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// Echoes: what it may read is copied to what it may write, when told to.
#[derive(Default)]
struct Echo {
    rings: Arc<Mutex<Vec<Started>>>,
}

impl Device for Echo {
    fn offer(&self) -> Offer {
        Offer { device_id: 4, features: 1 << 3, config: vec![1, 2, 3], queue_size: SIZE }
    }

    fn start(&mut self, _: u64, queues: Vec<Started>) {
        *self.rings.lock().unwrap() = queues;
    }

    fn stop(&mut self) {
        self.rings.lock().unwrap().clear();
    }

    fn command(&mut self, verb: &str, _: &Value) -> Result<Command, String> {
        if verb != "turn" {
            return Err(format!("no {verb}"));
        }
        let mut done = 0;
        for started in self.rings.lock().unwrap().iter_mut() {
            while let Some(chain) = started.ring.pop().map_err(|f| f.to_string())? {
                let len = hv_backend::ring::total(&chain.readable) as usize;
                let mut bytes = vec![0; len];
                started.ring.copy_out(&chain.readable, 0, &mut bytes).unwrap();
                started.ring.copy_in(&chain.writable, 0, &bytes).unwrap();
                started.ring.finish(chain.head, len as u32).unwrap();
                done += 1;
            }
            started.ring.notify().unwrap();
        }
        Ok(Command { answer: json!({ "done": done }), config: Some(vec![9, 9, 9]) })
    }

    fn stats(&self) -> Value {
        json!({ "queues": self.rings.lock().unwrap().len() })
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_default()
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.0.get_mut(), "{request}").unwrap();
        loop {
            let line = self.line();
            if line.get("event").is_none() {
                return line;
            }
        }
    }

    /// Waits for a state of this phase; its reason.
    fn phase(&mut self, phase: &str) -> Value {
        loop {
            let line = self.line();
            if line["phase"] == phase {
                return line["reason"].clone();
            }
        }
    }
}

struct Bed {
    guest: Guest,
    dir: TempDir,
    thread: Option<JoinHandle<End>>,
}

impl Bed {
    fn new(queues: usize) -> Self {
        let guest = Guest::new(queues);
        let dir = tempfile::tempdir().unwrap();
        Files::write(dir.path(), &guest.device("echo", json!({}))).unwrap();
        let mut bed = Self { guest, dir, thread: None };
        bed.begin();
        bed
    }

    fn begin(&mut self) {
        let (core, path) = (self.guest.core.clone(), self.dir.path().to_path_buf());
        self.thread = Some(std::thread::spawn(move || {
            let service = Service::open(&core, Files::read(&path).unwrap()).unwrap();
            service.run(&mut Echo::default()).unwrap()
        }));
        self.guest.wait_present();
    }

    fn client(&self) -> Client {
        let mut stream = None;
        let path = self.dir.path().join("socket");
        self.guest.until("it listens", || {
            stream = UnixStream::connect(&path).ok();
            stream.is_some()
        });
        Client(BufReader::new(stream.unwrap()))
    }

    fn quit(&mut self) {
        self.client().ask(&json!({ "id": 1, "do": "quit" }));
        assert_eq!(self.thread.take().unwrap().join().unwrap(), End::Quit);
    }
}

fn range(at: u64, len: u32) -> Range {
    Range { gpa: BUFFERS + at, len }
}

#[test]
fn a_device_is_seen_driven_and_removed() {
    let before = Guest::new(2).core.counters();
    let mut bed = Bed::new(2);
    let head = bed.guest.head();
    assert_eq!((head.device_id, head.queues, head.config_len), (4, 2, 3));
    assert_eq!(bed.guest.read(PAGE + offset::CONFIG as u64, 3), [1, 2, 3]);
    let mut client = bed.client();
    client.phase("waiting");
    bed.guest.start(0);
    client.phase("connected");
    bed.guest.write(BUFFERS, b"hello");
    let head = bed.guest.offer(1, &[range(0, 2), range(2, 3)], &[range(100, 4), range(200, 1)]);
    let turn = json!({ "id": 5, "do": "turn" });
    assert_eq!(client.ask(&turn), json!({ "id": 5, "ok": { "done": 1 } }));
    assert_eq!(bed.guest.completion(1), (head, 5));
    assert_eq!(bed.guest.read(BUFFERS + 100, 4), b"hell");
    assert_eq!(bed.guest.read(BUFFERS + 200, 1), b"o");
    let after = bed.guest.head();
    assert!(after.config_gen > 0 && after.config_gen.is_multiple_of(2));
    assert_eq!(bed.guest.read(PAGE + offset::CONFIG as u64, 3), [9, 9, 9]);
    let no = client.ask(&json!({ "id": 6, "do": "dance" }));
    assert_eq!(no, json!({ "id": 6, "error": "no dance" }));

    // Removal waits for the guest to let go.
    client.ask(&json!({ "id": 7, "do": "remove" }));
    bed.guest.until("it is asked to let go", || bed.guest.head().state & state::REMOVING != 0);
    assert_eq!(bed.guest.head().magic, hv_io::slot::MAGIC);
    bed.guest.ask_without_answer(0);
    assert_eq!(bed.thread.take().unwrap().join().unwrap(), End::Removed);
    assert_eq!(bed.guest.head().magic, 0);
    // Nothing stays mapped or bound.
    let after = bed.guest.core.counters();
    assert_eq!((after.ports, after.foreign_pages), (before.ports, before.foreign_pages));
}

#[test]
fn what_was_taken_is_done_by_a_successor() {
    let mut bed = Bed::new(1);
    bed.guest.start(0);
    bed.guest.write(BUFFERS, b"ab");
    bed.guest.offer(0, &[range(0, 1)], &[range(10, 1)]);
    bed.quit();
    bed.guest.offer(0, &[range(1, 1)], &[range(11, 1)]);
    bed.begin();
    let mut client = bed.client();
    client.phase("connected");
    assert_eq!(client.ask(&json!({ "do": "turn" }))["ok"]["done"], 2);
    assert_eq!(bed.guest.read(BUFFERS + 10, 2), b"ab");
    assert_eq!((bed.guest.completion(0).1, bed.guest.completion(0).1), (1, 1));
    bed.quit();
}

#[test]
fn features_that_were_not_offered_are_not_accepted() {
    let mut bed = Bed::new(1);
    let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    for features in [feature::VERSION_1 | 1, 0, feature::VERSION_1 | feature::RING_PACKED] {
        bed.guest.ask(0, 0);
        let answer = bed.guest.ask(ready, features);
        assert_eq!(answer & status::FEATURES_OK, 0, "{features:#x}");
    }
    bed.quit();
}

/// Breaks something, and says what the control socket then tells.
fn broken(spoil: impl FnOnce(&mut Guest)) -> String {
    let mut bed = Bed::new(1);
    bed.guest.wait_present();
    let features = feature::VERSION_1 | feature::RING_INDIRECT_DESC;
    let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    bed.guest.ask(0, 0);
    bed.guest.set_up_all();
    bed.guest.ask(ready, features);
    spoil(&mut bed.guest);
    let answer = bed.guest.ask(ready | status::DRIVER_OK, features);
    let mut client = bed.client();
    let text = if answer & status::NEEDS_RESET != 0 {
        // Nothing helps but a reset.
        let again = bed.guest.ask(ready | status::DRIVER_OK, features);
        assert_ne!(again & status::NEEDS_RESET, 0);
        client.phase("quarantined").as_str().unwrap().to_string()
    } else {
        let answer = client.ask(&json!({ "do": "turn" }));
        answer["error"].as_str().unwrap_or("nothing was wrong").to_string()
    };
    assert_eq!(bed.guest.ask(0, 0), 0);
    bed.guest.start(0);
    assert_eq!(client.ask(&json!({ "do": "turn" }))["ok"]["done"], 0);
    bed.quit();
    text
}

#[test]
fn a_guest_that_breaks_its_queue_is_quarantined() {
    let place = |guest: &mut Guest, change: &dyn Fn(&mut QueueSetup)| {
        let desc = Guest::rings(0);
        let (driver, device) = (desc + 0x1000, desc + 0x2000);
        let mut setup = QueueSetup { desc, driver, device, size: SIZE, enabled: 1, reserved: 0 };
        change(&mut setup);
        guest.set_up(0, &setup);
    };
    assert!(broken(|g| place(g, &|s| s.size = 63)).contains("size"));
    assert!(broken(|g| place(g, &|s| s.size = 128)).contains("size"));
    assert!(broken(|g| place(g, &|s| s.desc += 8)).contains("aligned"));
    assert!(broken(|g| place(g, &|s| s.device = 1 << 40)).contains("memory"));
    assert!(broken(|g| place(g, &|s| s.driver = u64::MAX - 1)).contains("memory"));
}

#[test]
fn a_guest_that_breaks_its_descriptors_is_refused() {
    let table = Guest::rings(0);
    let good = range(0, 16);
    let far = Range { gpa: 1 << 50, len: 16 };
    // A loop, a buffer outside, one of no length, one to read behind one to write.
    let text = broken(|g| {
        g.describe(table, 0, good, 1, 1);
        g.describe(table, 1, good, 1, 0);
        g.publish(0, 0);
    });
    assert!(text.contains("chain"), "{text}");
    let text = broken(|g| {
        g.describe(table, 0, far, 0, 0);
        g.publish(0, 0);
    });
    assert!(text.contains("outside"), "{text}");
    let text = broken(|g| {
        g.describe(table, 0, range(0, 0), 0, 0);
        g.publish(0, 0);
    });
    assert!(text.contains("outside"), "{text}");
    let text = broken(|g| {
        g.describe(table, 0, good, 3, 1);
        g.describe(table, 1, good, 0, 0);
        g.publish(0, 0);
    });
    assert!(text.contains("direction"), "{text}");
    // A head out of range, the same head twice, an index too far ahead.
    assert!(broken(|g| g.publish(0, SIZE)).contains("chain"));
    let text = broken(|g| {
        g.describe(table, 0, good, 0, 0);
        let ring = table + 0x1000;
        g.write(ring + 2, &(SIZE + 1).to_le_bytes());
    });
    assert!(text.contains("index"), "{text}");
    // An indirect table within a table.
    let text = broken(|g| {
        g.describe(table, 0, range(0, 16), 4, 0);
        g.describe(BUFFERS, 0, range(0, 16), 4, 0);
        g.publish(0, 0);
    });
    assert!(text.contains("chain"), "{text}");
}

#[test]
fn a_second_backend_is_refused() {
    let mut bed = Bed::new(1);
    let files = Files::read(bed.dir.path()).unwrap();
    let text = match Service::open(&bed.guest.core, files) {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    };
    assert!(text.contains("lock"), "{text}");
    assert_eq!(bed.guest.core.audit().unwrap(), 0);
    bed.quit();
}
