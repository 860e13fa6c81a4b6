// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest for tests of backends, over the fake core: it has memory, a device's
//! page and ports, and does by hand what a driver does. What it writes into its
//! rings is up to the test: nothing here checks it.

mod hostile;

use crate::files::DeviceFile;
pub use hostile::Hostile;

use hv_abi::domain::DomainConfig;
use hv_abi::{DomainId, PAGE_SIZE};
use hv_client::fake::FakeCore;
use hv_client::uring::Range;
use hv_client::{Calls, ForeignMap};
use hv_io::slot::{DeviceHead, DriverHead, QueueSetup, offset};
use hv_io::{feature, status};
use std::time::{Duration, Instant};

/// Bytes of memory.
pub const MEMORY: u64 = 8 << 20;
/// The device's page.
pub const PAGE: u64 = 0x7_e000;
/// Where rings are: so many bytes per queue.
const RINGS: u64 = 0x10_0000;
const RING_BYTES: u64 = 0x4000;
/// Where buffers may be.
pub const BUFFERS: u64 = 0x20_0000;
/// Descriptors of each queue.
pub const SIZE: u16 = 64;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Default)]
struct Queue {
    free: u16,
    available: u16,
    seen: u16,
}

/// See the module.
pub struct Guest {
    /// The fake core it runs on.
    pub core: FakeCore,
    /// Its number.
    pub domain: DomainId,
    /// All of its memory.
    pub memory: ForeignMap,
    config_port: u32,
    queue_ports: Vec<u32>,
    queues: Vec<Queue>,
    request: u32,
}

impl Guest {
    /// A guest whose device has so many queues.
    pub fn new(queues: usize) -> Self {
        let core = FakeCore::new(4 * MEMORY);
        let config = DomainConfig {
            domain: 0,
            vcpus: 1,
            max_pages: MEMORY / PAGE_SIZE,
            start_info: 0,
            max_ports: 0,
            weight: 0,
            cap: 0,
            flags: 0,
            uuid: [7; 16],
            name: [0; 64],
        };
        let domain = core.domain_create(&config).unwrap_or_default();
        let populated = core.memory_populate(domain, 0, MEMORY / PAGE_SIZE, &mut || true);
        assert!(populated.is_ok(), "{populated:?}");
        let port = || core.event_alloc(domain).unwrap_or_default();
        let (config_port, queue_ports) = (port(), (0..queues).map(|_| port()).collect());
        let memory = core.guest_map(domain, 0, MEMORY as usize);
        let memory = memory.unwrap_or_else(|| panic!("the fake guest has memory"));
        let queues = vec![Queue::default(); queues];
        Self { core, domain, memory, config_port, queue_ports, queues, request: 0 }
    }

    /// What the daemon would write.
    pub fn device(&self, kind: &str, settings: serde_json::Value) -> DeviceFile {
        DeviceFile {
            kind: kind.into(),
            name: "test".into(),
            domain: self.domain,
            page: PAGE,
            incarnation: 1,
            memory: vec![(0, MEMORY)],
            config_port: self.config_port,
            queue_ports: self.queue_ports.clone(),
            uid: 0,
            settings,
        }
    }

    /// Writes to memory.
    pub fn write(&self, gpa: u64, bytes: &[u8]) {
        self.memory.write(gpa as usize, bytes).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Reads memory.
    pub fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(gpa as usize, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
        bytes
    }

    fn word(&self, gpa: u64) -> u32 {
        self.memory.word(gpa as usize).unwrap_or_else(|e| panic!("{e}"))
    }

    fn short(&self, gpa: u64) -> u16 {
        let bytes = self.read(gpa, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// Waits for something.
    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The host's half of the page.
    pub fn head(&self) -> DeviceHead {
        self.memory.read_object(PAGE as usize).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Waits until the device is there.
    pub fn wait_present(&self) {
        self.until("the device is there", || self.head().magic == hv_io::slot::MAGIC);
    }

    /// Makes a request and waits for its answer: the status.
    pub fn ask(&mut self, status: u32, features: u64) -> u32 {
        self.ask_without_answer_of(status, features);
        self.until("the host answers", || self.head().host_seq == self.request);
        self.head().status
    }

    /// Asks for a status and does not wait.
    pub fn ask_without_answer(&mut self, status: u32) {
        self.ask_without_answer_of(status, 0);
    }

    fn ask_without_answer_of(&mut self, status: u32, features: u64) {
        self.request += 1;
        let head = DriverHead {
            status,
            drv_seq: self.request - 1,
            features_lo: features,
            ..DriverHead::default()
        };
        let at = PAGE as usize + offset::DRIVER;
        self.memory.write_object(at, &head).unwrap_or_else(|e| panic!("{e}"));
        let set = self.memory.set_word(PAGE as usize + offset::DRV_SEQ, self.request);
        assert!(set.is_ok());
        self.core.guest_send(self.domain, self.config_port);
    }

    /// Address of a queue's descriptors; its rings are 4 and 8 KiB behind.
    pub fn rings(queue: usize) -> u64 {
        RINGS + queue as u64 * RING_BYTES
    }

    /// Names a queue's place in the page.
    pub fn set_up(&self, queue: usize, setup: &QueueSetup) {
        let at = PAGE as usize + offset::SETUPS + queue * size_of::<QueueSetup>();
        self.memory.write_object(at, setup).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Sets up every queue, with nothing in it, at its usual place.
    pub fn set_up_all(&mut self) {
        for queue in 0..self.queues.len() {
            let desc = Self::rings(queue);
            self.write(desc, &[0; RING_BYTES as usize]);
            let (driver, device) = (desc + 0x1000, desc + 0x2000);
            let setup = QueueSetup { desc, driver, device, size: SIZE, enabled: 1, reserved: 0 };
            self.set_up(queue, &setup);
            self.queues[queue] = Queue::default();
        }
    }

    /// The whole handshake; the features that were accepted.
    pub fn start(&mut self, without: u64) -> u64 {
        self.wait_present();
        let offered = self.head().features_lo;
        let features = offered & !without & !feature::RING_PACKED;
        self.ask(0, 0);
        self.set_up_all();
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        assert_eq!(self.ask(ready, features), ready);
        let all = ready | status::DRIVER_OK;
        assert_eq!(self.ask(all, features), all);
        features
    }

    /// Writes a descriptor.
    pub fn describe(&self, table: u64, index: u16, range: Range, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&range.gpa.to_le_bytes());
        bytes[8..12].copy_from_slice(&range.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.write(table + 16 * u64::from(index), &bytes);
    }

    /// Makes a chain of descriptors available, without a kick; its head.
    pub fn offer(&mut self, queue: usize, readable: &[Range], writable: &[Range]) -> u16 {
        let table = Self::rings(queue);
        let head = self.queues[queue].free;
        let count = readable.len() + writable.len();
        for (i, range) in readable.iter().chain(writable).enumerate() {
            let index = (head + i as u16) % SIZE;
            let next = if i + 1 < count { 1 } else { 0 };
            let write = if i < readable.len() { 0 } else { 2 };
            self.describe(table, index, *range, next | write, (index + 1) % SIZE);
        }
        self.queues[queue].free = (head + count as u16) % SIZE;
        self.publish(queue, head);
        head
    }

    /// Puts a head into the available ring.
    pub fn publish(&mut self, queue: usize, head: u16) {
        let ring = Self::rings(queue) + 0x1000;
        let state = &mut self.queues[queue];
        let at = ring + 4 + 2 * u64::from(state.available % SIZE);
        state.available = state.available.wrapping_add(1);
        let index = state.available;
        self.write(at, &head.to_le_bytes());
        self.write(ring + 2, &index.to_le_bytes());
    }

    /// Kicks a queue.
    pub fn kick(&self, queue: usize) {
        self.core.guest_send(self.domain, self.queue_ports[queue]);
    }

    /// Completions there are that were not taken.
    pub fn completions(&self, queue: usize) -> u16 {
        let index = self.short(Self::rings(queue) + 0x2000 + 2);
        index.wrapping_sub(self.queues[queue].seen)
    }

    /// Waits for the next completion: head and length.
    pub fn completion(&mut self, queue: usize) -> (u16, u32) {
        self.until("a request is complete", || self.completions(queue) > 0);
        let ring = Self::rings(queue) + 0x2000;
        let at = ring + 4 + 8 * u64::from(self.queues[queue].seen % SIZE);
        self.queues[queue].seen = self.queues[queue].seen.wrapping_add(1);
        (self.word(at) as u16, self.word(at + 4))
    }
}
