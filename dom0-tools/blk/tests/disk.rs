// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole backend over the fake core: a guest by hand reads and writes a real
//! file through real io_uring.
//!
//! Length: a bed, and a test for each promise of a disk.

use hv_backend::service::End;
use hv_backend::testing::{BUFFERS, Guest, Hostile, SIZE};
use hv_backend::{Error, Files};
use hv_client::uring::Range;
use hv_io::blk::{Config, request, status};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Where the header, the status bytes and the data are, one page per request.
const HEADERS: u64 = BUFFERS;
const STATUS: u64 = BUFFERS + 0x1_0000;
const DATA: u64 = BUFFERS + 0x10_0000;

struct Bed {
    guest: Guest,
    dir: TempDir,
    thread: Option<JoinHandle<Result<End, Error>>>,
    next: u64,
}

fn settings(path: &PathBuf) -> Value {
    json!({
        "path": path, "format": "raw", "read_only": false, "serial": "S-1", "block_size": 512,
        "direct": true, "discard": true, "on_io_error": "report",
        "read": {}, "write": {},
    })
}

impl Bed {
    fn new(queues: usize, change: impl Fn(&mut Value)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(4 * MIB).unwrap();
        let guest = Guest::new(queues);
        let mut settings = settings(&image);
        change(&mut settings);
        Files::write(&dir.path().join("device"), &guest.device("block", settings)).unwrap();
        let mut bed = Self { guest, dir, thread: None, next: 0 };
        bed.begin();
        bed
    }

    fn begin(&mut self) {
        let core = self.guest.core.clone();
        let files = Files::read(&self.dir.path().join("device")).unwrap();
        self.thread = Some(std::thread::spawn(move || hv_blk::serve(&core, files, false)));
        self.guest.wait_present();
    }

    fn image(&self) -> std::fs::File {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).open(self.dir.path().join("image")).unwrap()
    }

    fn ask(&self, request: &Value) -> Value {
        let path = self.dir.path().join("device/socket");
        let mut stream = None;
        self.guest.until("it listens", || {
            stream = UnixStream::connect(&path).ok();
            stream.is_some()
        });
        let mut stream = BufReader::new(stream.unwrap());
        writeln!(stream.get_mut(), "{request}").unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line.get("event").is_none() {
                return line;
            }
        }
    }

    fn phase(&self) -> (String, String) {
        let answer = self.ask(&json!({ "do": "state" }));
        let text = |name: &str| answer["ok"][name].as_str().unwrap_or("").to_string();
        (text("phase"), text("reason"))
    }

    fn stat(&self, name: &str) -> u64 {
        self.ask(&json!({ "do": "stats" }))["ok"][name].as_u64().unwrap()
    }

    fn quit(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.ask(&json!({ "do": "quit" }));
            assert_eq!(thread.join().unwrap().unwrap(), End::Quit);
        }
    }

    /// Submits a request; its number.
    fn submit(&mut self, queue: usize, kind: u32, sector: u64, data: &[Range]) -> (u16, u64) {
        let number = self.next % 64;
        self.next += 1;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let at = HEADERS + number * 16;
        self.guest.write(at, &header);
        self.guest.write(STATUS + number, &[0xff]);
        let (head, end) = (Range { gpa: at, len: 16 }, Range { gpa: STATUS + number, len: 1 });
        let reads = matches!(kind, request::IN | request::GET_ID);
        let (mut readable, mut writable) = (vec![head], Vec::new());
        if reads { &mut writable } else { &mut readable }.extend_from_slice(data);
        writable.push(end);
        (self.guest.offer(queue, &readable, &writable), number)
    }

    /// Does a request; its status byte and the length told.
    fn request(&mut self, kind: u32, sector: u64, data: &[Range]) -> (u8, u32) {
        let (head, number) = self.submit(0, kind, sector, data);
        self.guest.kick(0);
        let (done, len) = self.guest.completion(0);
        assert_eq!(done, head);
        (self.guest.read(STATUS + number, 1)[0], len)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.quit();
        }
    }
}

fn data(at: u64, len: u32) -> Range {
    Range { gpa: DATA + at, len }
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761) as u8 ^ seed).collect()
}

#[test]
fn what_is_written_is_read_and_in_the_file() {
    let mut bed = Bed::new(1, |_| {});
    bed.guest.start(0);
    let config: Config = {
        use zerocopy::FromBytes;
        let at = hv_backend::testing::PAGE + hv_io::slot::offset::CONFIG as u64;
        Config::read_from_bytes(&bed.guest.read(at, size_of::<Config>())).unwrap()
    };
    assert_eq!((config.capacity, config.blk_size, config.num_queues), (8192, 512, 1));
    let text = pattern(1, 12_288);
    bed.guest.write(DATA, &text);
    // In pieces that are not whole sectors, and neither aligned.
    let pieces = [data(0, 100), data(100, 4096), data(4196, 8092)];
    assert_eq!(bed.request(request::OUT, 3, &pieces), (status::OK, 1));
    let mut file = vec![0; text.len()];
    bed.image().read_exact_at(&mut file, 3 * 512).unwrap();
    assert_eq!(file, text);
    let target = [data(0x2_0000, 4096), data(0x2_1000, 8192)];
    assert_eq!(bed.request(request::IN, 3, &target), (status::OK, 12_289));
    assert_eq!(bed.guest.read(DATA + 0x2_0000, text.len()), text);
    assert_eq!(bed.request(request::FLUSH, 0, &[]), (status::OK, 1));
    assert_eq!(bed.request(request::GET_ID, 0, &[data(0, 20)]), (status::OK, 21));
    assert_eq!(&bed.guest.read(DATA, 4), b"S-1\0");
    assert_eq!((bed.stat("writes"), bed.stat("write_bytes")), (1, 12_288));
    assert_eq!((bed.stat("reads"), bed.stat("flushes"), bed.stat("errors")), (1, 1, 0));
}

#[test]
fn requests_beyond_the_disk_are_refused() {
    let mut bed = Bed::new(1, |_| {});
    bed.guest.start(0);
    let sector = data(0, 512);
    assert_eq!(bed.request(request::IN, 8191, &[sector]).0, status::OK);
    for (kind, at, len) in
        [(request::IN, 8192, 512), (request::OUT, 8191, 1024), (request::OUT, u64::MAX, 512)]
    {
        assert_eq!(bed.request(kind, at, &[data(0, len)]).0, status::IOERR, "{at}");
    }
    assert_eq!(bed.request(request::IN, 0, &[data(0, 511)]).0, status::IOERR);
    assert_eq!(bed.request(request::IN, 0, &[]).0, status::IOERR);
    assert_eq!(bed.request(77, 0, &[sector]).0, status::UNSUPP);
    assert_eq!(bed.request(request::GET_ID, 0, &[data(0, 19)]).0, status::IOERR);
    assert_eq!(bed.stat("refused"), 7);
    assert_eq!(bed.phase().0, "connected");
}

#[test]
fn holes_and_zeroes() {
    let mut bed = Bed::new(1, |_| {});
    bed.image().write_all_at(&pattern(2, 65_536), 0).unwrap();
    bed.guest.start(0);
    let segment = |sector: u64, sectors: u32, flags: u32| {
        let mut bytes = sector.to_le_bytes().to_vec();
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes
    };
    let mut segments = segment(8, 8, 0);
    segments.extend(segment(32, 16, 1));
    bed.guest.write(DATA, &segments);
    assert_eq!(bed.request(request::WRITE_ZEROES, 0, &[data(0, 32)]), (status::OK, 1));
    let mut file = vec![0; 65_536];
    bed.image().read_exact_at(&mut file, 0).unwrap();
    let mut expected = pattern(2, 65_536);
    expected[8 * 512..16 * 512].fill(0);
    expected[32 * 512..48 * 512].fill(0);
    assert!(file == expected);
    bed.guest.write(DATA, &segment(0, 8, 0));
    let done = bed.request(request::DISCARD, 0, &[data(0, 16)]).0;
    assert!(done == status::OK || done == status::UNSUPP);
    // Flags of a discard, a part of a segment, a range beyond the end.
    bed.guest.write(DATA, &segment(0, 8, 1));
    assert_eq!(bed.request(request::DISCARD, 0, &[data(0, 16)]).0, status::UNSUPP);
    assert_eq!(bed.request(request::DISCARD, 0, &[data(0, 15)]).0, status::IOERR);
    bed.guest.write(DATA, &segment(8190, 8, 0));
    assert_eq!(bed.request(request::WRITE_ZEROES, 0, &[data(0, 16)]).0, status::IOERR);
}

#[test]
fn many_requests_on_many_queues() {
    let mut bed = Bed::new(3, |_| {});
    bed.guest.start(0);
    for round in 0..20u64 {
        for queue in 0..3usize {
            for i in 0..8u64 {
                let slot = queue as u64 * 8 + i;
                let text = pattern((round + slot) as u8, 4096);
                bed.guest.write(DATA + slot * 4096, &text);
                let sector = (slot + round * 24) % 1000 * 8;
                bed.submit(queue, request::OUT, sector, &[data(slot * 4096, 4096)]);
            }
            bed.guest.kick(queue);
        }
        for queue in 0..3 {
            for _ in 0..8 {
                bed.guest.completion(queue);
            }
        }
        for slot in 0..24u64 {
            let mut file = vec![0; 4096];
            let sector = (slot + round * 24) % 1000 * 8;
            bed.image().read_exact_at(&mut file, sector * 512).unwrap();
            assert!(file == pattern((round + slot) as u8, 4096), "round {round} slot {slot}");
        }
    }
    assert_eq!(bed.stat("writes"), 480);
}

#[test]
fn limits_hold_requests_back_and_can_be_lifted() {
    let mut bed = Bed::new(1, |s| s["write"] = json!({ "ops": 5, "ops_burst": 1 }));
    bed.guest.start(0);
    let start = std::time::Instant::now();
    // All at once, so that even a slow host finds the bucket empty.
    for slot in 0..4 {
        bed.submit(0, request::OUT, slot, &[data(slot * 512, 512)]);
    }
    bed.guest.kick(0);
    for _ in 0..4 {
        bed.guest.completion(0);
    }
    assert!(start.elapsed().as_millis() >= 350, "{:?}", start.elapsed());
    assert!(bed.stat("throttled") >= 1);
    // Reads are not concerned.
    assert_eq!(bed.request(request::IN, 0, &[data(0, 512)]).0, status::OK);
    bed.ask(&json!({ "do": "throttle", "write": { "bytes": 1 } }));
    let throttled = bed.stat("throttled");
    bed.submit(0, request::OUT, 0, &[data(0, 512)]);
    bed.guest.kick(0);
    bed.guest.completion(0);
    bed.submit(0, request::OUT, 0, &[data(0, 512)]);
    bed.guest.kick(0);
    bed.guest.until("it waits", || bed.stat("throttled") > throttled);
    assert_eq!(bed.guest.completions(0), 0);
    bed.ask(&json!({ "do": "throttle", "write": {} }));
    bed.guest.completion(0);
}

#[test]
fn a_disk_grows_while_the_guest_looks() {
    let mut bed = Bed::new(1, |_| {});
    bed.guest.start(0);
    let before = bed.guest.head().config_gen;
    let no = bed.ask(&json!({ "do": "resize", "size": MIB }));
    assert!(no["error"].as_str().unwrap().contains("smaller"), "{no}");
    let grown = bed.ask(&json!({ "do": "resize", "size": 8 * MIB }));
    assert_eq!(grown["ok"]["bytes"], 8 * MIB);
    let after = bed.guest.head().config_gen;
    assert!(after != before && after.is_multiple_of(2));
    assert_eq!(bed.request(request::OUT, 16_383, &[data(0, 512)]).0, status::OK);
}

/// What is refused before the guest sees anything.
fn refused(change: impl Fn(&mut Value, &PathBuf)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(MIB).unwrap();
    let guest = Guest::new(1);
    let mut settings = settings(&image);
    change(&mut settings, &image);
    Files::write(dir.path(), &guest.device("block", settings)).unwrap();
    let files = Files::read(dir.path()).unwrap();
    let why = hv_blk::serve(&guest.core, files, false).unwrap_err().to_string();
    assert_eq!(guest.head().magic, 0, "{why}");
    why.replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn images_that_cannot_be_are_named() {
    let gone = refused(|_, image| std::fs::remove_file(image).unwrap());
    assert_eq!(gone, "DIR/image: there is no such image");
    let odd = refused(|_, image| {
        std::fs::File::options().write(true).open(image).unwrap().set_len(1000).unwrap();
    });
    assert_eq!(odd, "DIR/image: the image has 1000 bytes, no whole number of sectors of 512");
    let empty = refused(|_, image| drop(std::fs::File::create(image).unwrap()));
    assert_eq!(empty, "DIR/image: the image is empty");
    let dir = refused(|s, image| s["path"] = json!(image.parent().unwrap()));
    assert!(dir.contains("is a directory"), "{dir}");
    let format = refused(|s, _| s["format"] = json!("vmdk"));
    assert!(format.contains("vmdk"), "{format}");
    let null = refused(|s, _| s["path"] = json!("/dev/null"));
    assert!(null.contains("neither a file nor a block device"), "{null}");
}

#[test]
fn one_writer_or_many_readers() {
    let bed = Bed::new(1, |_| {});
    let image = bed.dir.path().join("image");
    let second = Guest::new(1);
    let open = |read_only: bool| {
        let mut settings = settings(&image);
        settings["read_only"] = json!(read_only);
        let settings = serde_json::from_value(settings).unwrap();
        hv_blk::image::Image::open(&settings)
    };
    for read_only in [false, true] {
        assert!(open(read_only).unwrap_err().to_string().contains("in use"), "{read_only}");
    }
    drop((bed, second));
}

#[test]
fn a_read_only_disk_is_not_written() {
    let mut bed = Bed::new(1, |s| s["read_only"] = json!(true));
    bed.guest.start(0);
    assert_eq!(bed.request(request::OUT, 0, &[data(0, 512)]).0, status::IOERR);
    assert_eq!(bed.request(request::WRITE_ZEROES, 0, &[data(0, 16)]).0, status::UNSUPP);
    assert_eq!(bed.request(request::IN, 0, &[data(0, 512)]).0, status::OK);
}

#[test]
fn a_file_that_shrinks_is_an_error_or_a_pause() {
    let mut bed = Bed::new(1, |_| {});
    bed.guest.start(0);
    bed.image().set_len(MIB).unwrap();
    assert_eq!(bed.request(request::IN, 8000, &[data(0, 512)]).0, status::IOERR);
    assert_eq!(bed.stat("errors"), 1);

    let mut bed = Bed::new(1, |s| s["on_io_error"] = json!("pause"));
    bed.guest.start(0);
    bed.image().set_len(MIB).unwrap();
    bed.guest.write(DATA, &pattern(5, 512));
    bed.submit(0, request::IN, 8000, &[data(0, 512)]);
    bed.guest.kick(0);
    bed.guest.until("it is held", || bed.phase().0 == "held");
    assert!(bed.phase().1.contains("image"), "{:?}", bed.phase());
    assert_eq!(bed.guest.completions(0), 0);
    // Somebody mends it.
    bed.image().set_len(4 * MIB).unwrap();
    bed.ask(&json!({ "do": "resume" }));
    bed.guest.completion(0);
    assert_eq!(bed.guest.read(DATA, 512), vec![0; 512]);
    assert_eq!(bed.phase().0, "connected");
}

#[test]
fn a_queue_that_goes_on_does_not_speak_for_one_that_is_held() {
    let mut bed = Bed::new(2, |s| s["on_io_error"] = json!("pause"));
    bed.guest.start(0);
    bed.image().set_len(MIB).unwrap();
    bed.submit(0, request::IN, 8000, &[data(0, 512)]);
    bed.guest.kick(0);
    bed.guest.until("it is held", || bed.phase().0 == "held");
    // Both queues are told to go on; one of them fails again.
    for round in 1..20 {
        bed.ask(&json!({ "do": "resume" }));
        bed.guest.until("it failed again", || bed.stat("errors") > round);
        bed.submit(1, request::IN, 0, &[data(4096, 512)]);
        bed.guest.kick(1);
        bed.guest.completion(1);
        bed.guest.until("it is held", || bed.phase().0 == "held");
    }
    bed.image().set_len(4 * MIB).unwrap();
    bed.ask(&json!({ "do": "resume" }));
    bed.guest.completion(0);
    bed.guest.until("it goes on", || bed.phase() == ("connected".into(), String::new()));
}

#[test]
fn a_reset_in_mid_flight_leaves_nothing_behind() {
    let mut bed = Bed::new(2, |s| s["write"] = json!({ "ops": 1 }));
    for _ in 0..5 {
        bed.guest.start(0);
        for _ in 0..10 {
            bed.submit(0, request::OUT, 0, &[data(0, 4096)]);
            bed.submit(1, request::IN, 0, &[data(0x1_0000, 4096)]);
        }
        bed.guest.kick(0);
        bed.guest.kick(1);
        assert_eq!(bed.guest.ask(0, 0), 0);
        // From here on nobody writes to the guest's memory.
        bed.guest.write(DATA + 0x1_0000, &[0xee; 4096]);
        let used = bed.guest.completions(1);
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(bed.guest.completions(1), used);
        assert_eq!(bed.guest.read(DATA + 0x1_0000, 4096), [0xee; 4096]);
    }
    assert_eq!(u32::from(SIZE), 64);
}

#[test]
fn a_guest_that_lies_hurts_nobody() {
    let mut bed = Bed::new(2, |_| {});
    let mut hostile = Hostile::new(20_000);
    let (mut quarantined, mut rounds) = (0, 0);
    while hostile.goes_on() {
        rounds += 1;
        hostile.handshake(&mut bed.guest, 2);
        for number in 0..hostile.below(100) {
            let kinds = [request::IN, request::OUT, request::FLUSH, request::GET_ID];
            let kind = match hostile.below(8) {
                0 => hostile.number() as u32,
                1 => request::DISCARD,
                2 => request::WRITE_ZEROES,
                n => kinds[n as usize % kinds.len()],
            };
            let sector = if hostile.once_in(8) { hostile.number() } else { hostile.below(8200) };
            let at = HEADERS + number % 64 * 16;
            bed.guest.write(at, &kind.to_le_bytes());
            bed.guest.write(at + 8, &sector.to_le_bytes());
            let len = if hostile.once_in(4) { hostile.below(9000) as u32 } else { 4096 };
            let buffer = data(hostile.below(0x10_0000), len);
            let (head, end) = (Range { gpa: at, len: 16 }, Range { gpa: STATUS + number, len: 1 });
            let queue = hostile.below(2) as usize;
            match kind {
                request::IN | request::GET_ID => {
                    hostile.send(&mut bed.guest, queue, &[head], &[buffer, end]);
                }
                _ => hostile.send(&mut bed.guest, queue, &[head, buffer], &[end]),
            }
        }
        (0..2).for_each(|queue| bed.guest.kick(queue));
        let status = bed.guest.head().status;
        quarantined += u64::from(status & hv_io::status::NEEDS_RESET != 0);
    }
    assert!(quarantined > 0 && quarantined < rounds, "{quarantined} of {rounds} rounds");
    assert!(bed.stat("writes") > 0 && bed.stat("reads") > 0 && bed.stat("refused") > 0);
    assert_eq!(bed.stat("errors"), 0);
    assert_eq!(bed.image().metadata().unwrap().len(), 4 * MIB);
    // After all that it serves an honest driver.
    bed.guest.start(0);
    bed.guest.write(DATA, &pattern(9, 4096));
    assert_eq!(bed.request(request::OUT, 8, &[data(0, 4096)]), (status::OK, 1));
    assert_eq!(bed.request(request::IN, 8, &[data(8192, 4096)]), (status::OK, 4097));
    assert_eq!(bed.guest.read(DATA + 8192, 4096), pattern(9, 4096));
}
