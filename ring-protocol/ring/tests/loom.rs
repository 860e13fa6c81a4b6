// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every interleaving, and every reordering the memory model allows, of one
//! producer and one consumer. Data bytes are relaxed atomics here, so a missing
//! acquire or release on an index shows as a stale byte.

use hv_ring::{Consumer, Layout, Producer, RingMemory};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use loom::thread;

const LAYOUT: Layout = Layout::new(8, 2, 0, 4);

struct Shared {
    produced: AtomicU32,
    consumed: AtomicU32,
    data: [AtomicU8; 2],
}

impl Shared {
    fn new(start: u32) -> Self {
        Self {
            produced: AtomicU32::new(start),
            consumed: AtomicU32::new(start),
            data: [AtomicU8::new(0), AtomicU8::new(0)],
        }
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        if offset == 0 { &self.produced } else { &self.consumed }
    }
}

impl RingMemory for Shared {
    fn load_index(&self, offset: usize) -> u32 {
        self.index(offset).load(Ordering::Acquire)
    }

    fn store_index(&self, offset: usize, value: u32) {
        self.index(offset).store(value, Ordering::Release);
    }

    fn read_bytes(&self, offset: usize, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = self.data[offset - 8 + i].load(Ordering::Relaxed);
        }
    }

    fn write_bytes(&self, offset: usize, from: &[u8]) {
        for (i, byte) in from.iter().enumerate() {
            self.data[offset - 8 + i].store(*byte, Ordering::Relaxed);
        }
    }
}

/// Three bytes through a queue of two, across the wrap of the indices.
#[test]
fn bytes_arrive_once_and_in_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new(Shared::new(u32::MAX));
        let theirs = shared.clone();
        let sender = thread::spawn(move || {
            let mut producer = Producer::attach(LAYOUT, &*theirs);
            let mut rest: &[u8] = &[1, 2, 3];
            while !rest.is_empty() {
                let n = producer.push(&*theirs, rest).unwrap();
                rest = &rest[n..];
                if n == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut consumer = Consumer::attach(LAYOUT, &*shared);
        let mut got = Vec::new();
        while got.len() < 3 {
            let mut into = [0; 2];
            let n = consumer.pop(&*shared, &mut into).unwrap();
            got.extend_from_slice(&into[..n]);
            if n == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(got, [1, 2, 3]);
        sender.join().unwrap();
    });
}
