// SPDX-License-Identifier: MIT OR Apache-2.0
//! A card over the fake core, with a socket in place of the tap: packets both
//! ways, what is refused, limits, a backend that dies, a guest that lies.

use hv_backend::testing::{BUFFERS, Guest, Hostile};
use hv_backend::{Files, Service};
use hv_client::tap::Tap;
use hv_client::uring::Range;
use hv_io::status;
use hv_net::control::Active;
use hv_net::device::Net;
use hv_net::header::LEN;
use hv_net::settings::Settings;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Instant;
use tempfile::TempDir;

const MAC: [u8; 6] = [2, 0x68, 0x76, 0, 0, 1];
const RECEIVE: usize = 0;
const SEND: usize = 1;

struct Bed {
    guest: Guest,
    world: OwnedFd,
    dir: TempDir,
    settings: Settings,
    thread: Option<JoinHandle<()>>,
    spare: OwnedFd,
}

fn settings() -> Settings {
    Settings {
        tap: "test".into(),
        mac: MAC,
        mtu: 1500,
        pairs: 1,
        link: true,
        antispoof: true,
        addresses: None,
        send: Default::default(),
        receive: Default::default(),
    }
}

impl Bed {
    fn new(settings: Settings) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (tap, world) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest::new(settings.queues());
        let mut bed = Self { guest, world, dir, settings, thread: None, spare: tap };
        bed.begin();
        bed
    }

    fn begin(&mut self) {
        let value = serde_json::to_value(&self.settings).unwrap();
        Files::write(self.dir.path(), &self.guest.device("network", value)).unwrap();
        let (core, dir) = (self.guest.core.clone(), self.dir.path().to_owned());
        let (settings, tap) = (self.settings.clone(), self.spare.try_clone().unwrap());
        self.thread = Some(std::thread::spawn(move || {
            let service = Service::open(&core, Files::read(&dir).unwrap()).unwrap();
            let active = Active::open(&dir.join("active")).unwrap();
            let taps = vec![Tap::from(tap)];
            let mut net = Net::new(settings, taps, active, service.reporter()).unwrap();
            service.run(&mut net).unwrap();
        }));
        self.guest.wait_present();
    }

    fn ask(&self, request: &Value) -> Value {
        let stream = UnixStream::connect(self.dir.path().join("socket")).unwrap();
        let mut reader = BufReader::new(stream);
        writeln!(reader.get_mut(), "{request}").unwrap();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                return Value::Null;
            }
            let line: Value = serde_json::from_str(&line).unwrap();
            if line.get("event").is_none() {
                return line["ok"].clone();
            }
        }
    }

    fn stat(&self, way: &str, what: &str) -> u64 {
        self.ask(&json!({ "id": 1, "do": "stats" }))[way][what].as_u64().unwrap()
    }

    fn end(&mut self) {
        self.ask(&json!({ "id": 1, "do": "quit" }));
        self.thread.take().unwrap().join().unwrap();
    }

    /// The guest sends a frame, and the backend has taken it.
    fn send(&mut self, header: [u8; LEN], frame: &[u8]) {
        self.guest.write(BUFFERS, &header);
        self.guest.write(BUFFERS + 0x1000, frame);
        let range = |gpa, len| Range { gpa, len };
        let chain = [range(BUFFERS, LEN as u32), range(BUFFERS + 0x1000, frame.len() as u32)];
        let head = self.guest.offer(SEND, &chain, &[]);
        self.guest.kick(SEND);
        assert_eq!(self.guest.completion(SEND).0, head);
    }

    /// What came out to the world.
    fn sent(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let len = rustix::io::read(&self.world, &mut bytes).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    /// Hands out receive buffers of `len` bytes, one behind the other.
    fn hand_out(&mut self, count: u64, len: u32) {
        for i in 0..count {
            let gpa = BUFFERS + 0x10_0000 + i * 0x1000;
            self.guest.offer(RECEIVE, &[], &[Range { gpa, len }]);
        }
        self.guest.kick(RECEIVE);
    }
}

fn frame(source: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&source);
    frame
}

#[test]
fn frames_go_out_as_they_are_and_forged_ones_do_not() {
    let mut bed = Bed::new(settings());
    bed.guest.start(0);
    for len in [60, 256, 300, 1514] {
        bed.send([0; LEN], &frame(MAC, len));
        let sent = bed.sent().unwrap();
        assert_eq!((&sent[..LEN], &sent[LEN..]), (&[0; LEN][..], &frame(MAC, len)[..]));
    }
    bed.send([0; LEN], &frame([2, 0, 0, 0, 0, 9], 100));
    bed.send([0; LEN], &frame(MAC, 1519));
    let mut claims_tso = [0; LEN];
    claims_tso[1] = 1;
    bed.send(claims_tso, &frame(MAC, 1514));
    assert_eq!(bed.sent(), None);
    let figures = ["packets", "spoofed", "malformed"].map(|what| bed.stat("send", what));
    assert_eq!(figures, [4, 1, 2]);
    assert_eq!(bed.stat("send", "bytes"), 60 + 256 + 300 + 1514);
    bed.end();
}

#[test]
fn large_frames_keep_their_offloads() {
    let mut bed = Bed::new(settings());
    bed.guest.start(0);
    let mut header = [0; LEN];
    header[..2].copy_from_slice(&[1, 1]);
    header[2..4].copy_from_slice(&54u16.to_le_bytes());
    header[4..6].copy_from_slice(&1448u16.to_le_bytes());
    header[6..8].copy_from_slice(&34u16.to_le_bytes());
    header[8..10].copy_from_slice(&16u16.to_le_bytes());
    bed.send(header, &frame(MAC, 30_000));
    let sent = bed.sent().unwrap();
    assert_eq!((&sent[..LEN], sent.len()), (&header[..], LEN + 30_000));
    bed.end();
}

#[test]
fn a_packet_takes_as_many_buffers_as_it_needs() {
    let mut bed = Bed::new(settings());
    bed.guest.start(0);
    bed.hand_out(48, 1536);
    let small = [&[0; LEN][..], &frame(MAC, 100)].concat();
    let large = [&[0; LEN][..], &frame(MAC, 4000)].concat();
    rustix::io::write(&bed.world, &small).unwrap();
    rustix::io::write(&bed.world, &large).unwrap();
    let first = bed.guest.completion(RECEIVE);
    assert_eq!(first.1 as usize, LEN + 100);
    let at = BUFFERS + 0x10_0000;
    assert_eq!(bed.guest.read(at + 10, 2), [1, 0]);
    assert_eq!(bed.guest.read(at + LEN as u64, 100), frame(MAC, 100));
    // All three of the second come at once.
    bed.guest.until("the large packet is there", || bed.guest.completions(RECEIVE) > 0);
    assert_eq!(bed.guest.completions(RECEIVE), 3);
    let lens: Vec<u32> = (0..3).map(|_| bed.guest.completion(RECEIVE).1).collect();
    assert_eq!(lens, [1536, 1536, (LEN + 4000 - 2 * 1536) as u32]);
    assert_eq!(bed.guest.read(at + 0x1000 + 10, 2), [3, 0]);
    let mut got = Vec::new();
    for (i, len) in (1..).zip(lens) {
        got.extend(bed.guest.read(at + i * 0x1000, len as usize));
    }
    assert_eq!(&got[LEN..], &frame(MAC, 4000)[..]);
    bed.end();
}

#[test]
fn a_limit_bounds_bytes() {
    let rate = 4096;
    let limits = hv_backend::throttle::Limits { bytes: rate, ..Default::default() };
    let mut bed = Bed::new(Settings { send: limits, ..settings() });
    bed.guest.start(0);
    let start = Instant::now();
    bed.guest.write(BUFFERS, &[0; LEN]);
    bed.guest.write(BUFFERS + 0x1000, &frame(MAC, 1514));
    let chain = [(0, LEN as u32), (0x1000, 1514)];
    let chain = chain.map(|(at, len)| Range { gpa: BUFFERS + at, len });
    // All at once, so that even a slow host finds the bucket empty.
    for _ in 0..4 {
        bed.guest.offer(SEND, &chain, &[]);
    }
    bed.guest.kick(SEND);
    for _ in 0..4 {
        bed.guest.completion(SEND);
    }
    // Counted against the time it took: never more than rate and burst.
    let bytes = 4.0 * 1514.0;
    let allowed = start.elapsed().as_secs_f64() * rate as f64 + rate as f64 / 10.0 + 2.0 * 1514.0;
    assert!(bytes <= allowed, "{bytes} of {allowed}");
    assert!(bed.stat("send", "throttled") > 0);
    bed.end();
}

#[test]
fn the_link_goes_down_and_up() {
    let mut bed = Bed::new(settings());
    bed.guest.start(0);
    bed.ask(&json!({ "id": 1, "do": "link", "up": false }));
    assert_eq!(bed.guest.read(hv_backend::testing::PAGE + 0x80 + 6, 2), [0, 0]);
    bed.send([0; LEN], &frame(MAC, 100));
    assert_eq!(bed.sent(), None);
    bed.ask(&json!({ "id": 2, "do": "link", "up": true }));
    assert_eq!(bed.guest.read(hv_backend::testing::PAGE + 0x80 + 6, 2), [1, 0]);
    bed.send([0; LEN], &frame(MAC, 100));
    assert!(bed.sent().is_some());
    assert_eq!(bed.stat("send", "dropped"), 1);
    bed.end();
}

#[test]
fn a_successor_goes_on() {
    let mut bed = Bed::new(settings());
    bed.guest.start(0);
    bed.hand_out(48, 1536);
    bed.send([0; LEN], &frame(MAC, 100));
    bed.sent().unwrap();
    bed.end();
    // While nobody serves: a frame each way.
    let packet = [&[0; LEN][..], &frame(MAC, 200)].concat();
    rustix::io::write(&bed.world, &packet).unwrap();
    bed.guest.write(BUFFERS + 0x1000, &frame(MAC, 300));
    let range = Range { gpa: BUFFERS + 0x1000, len: 300 };
    let head = Range { gpa: BUFFERS, len: LEN as u32 };
    bed.guest.offer(SEND, &[head, range], &[]);
    bed.begin();
    bed.guest.completion(SEND);
    assert_eq!(bed.sent().unwrap().len(), LEN + 300);
    assert_eq!(bed.guest.completion(RECEIVE).1 as usize, LEN + 200);
    bed.end();
}

#[test]
fn a_guest_that_lies_hurts_nobody() {
    let mut bed = Bed::new(Settings { antispoof: false, ..settings() });
    let mut hostile = Hostile::new(20_000);
    let mut quarantined = 0;
    while hostile.goes_on() {
        hostile.handshake(&mut bed.guest, 2);
        for number in 0..hostile.below(200) {
            let buffer = Range { gpa: BUFFERS + 0x1000 * (number % 64), len: 1526 };
            match hostile.below(3) {
                0 => hostile.send(&mut bed.guest, RECEIVE, &[], &[buffer]),
                1 => hostile.send(&mut bed.guest, SEND, &[buffer], &[]),
                _ => {
                    let range = hostile.range();
                    hostile.send(
                        &mut bed.guest,
                        SEND,
                        &[Range { gpa: BUFFERS, len: 12 }, range],
                        &[],
                    );
                }
            }
            if hostile.once_in(16) {
                let header = hostile.number().to_le_bytes();
                bed.guest.write(BUFFERS, &header);
            }
            let packet = vec![0u8; 60 + hostile.below(1400) as usize];
            // A full socket drops, as a tap does.
            let _ = rustix::io::write(&bed.world, &packet);
            while bed.sent().is_some() {}
        }
        let status = bed.guest.head().status;
        quarantined += u64::from(status & status::NEEDS_RESET != 0);
    }
    assert!(quarantined > 0);
    // After all that it serves an honest driver.
    bed.guest.start(0);
    while bed.sent().is_some() {}
    bed.send([0; LEN], &frame(MAC, 100));
    let sent = (0..100).find_map(|_| bed.sent());
    assert_eq!(sent.unwrap().len(), LEN + 100);
    bed.end();
}
