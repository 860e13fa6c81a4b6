// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random operations against a plain `VecDeque`, and against a peer that
//! writes whatever it likes into the shared memory.

use hv_ring::console::ConsoleEnd;
use hv_ring::{Consumer, Layout, Producer, RingMemory};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;

const DATA: usize = 8;
const LEN: usize = 16;
const LAYOUT: Layout = Layout::new(DATA, LEN, 0, 4);

/// Memory that notices an access outside of what a layout allows.
struct Page {
    bytes: RefCell<Vec<u8>>,
    data: std::ops::Range<usize>,
}

impl Page {
    fn new(len: usize, data: std::ops::Range<usize>) -> Self {
        Self { bytes: RefCell::new(vec![0; len]), data }
    }

    fn small() -> Self {
        Self::new(DATA + LEN, DATA..DATA + LEN)
    }
}

impl RingMemory for Page {
    fn load_index(&self, offset: usize) -> u32 {
        assert!(!self.data.contains(&offset), "index within the data");
        let bytes = self.bytes.borrow();
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    fn store_index(&self, offset: usize, value: u32) {
        assert!(!self.data.contains(&offset), "index within the data");
        self.bytes.borrow_mut()[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn read_bytes(&self, offset: usize, into: &mut [u8]) {
        assert!(offset >= self.data.start && offset + into.len() <= self.data.end);
        into.copy_from_slice(&self.bytes.borrow()[offset..offset + into.len()]);
    }

    fn write_bytes(&self, offset: usize, from: &[u8]) {
        assert!(offset >= self.data.start && offset + from.len() <= self.data.end);
        self.bytes.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(Vec<u8>),
    Pop(usize),
    /// Both ends are made anew, as after a restart of either side.
    Reattach,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40).prop_map(Op::Push),
        4 => (0usize..40).prop_map(Op::Pop),
        1 => Just(Op::Reattach),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Nothing is lost, doubled or reordered, wherever the indices start: near
    /// 2^32 they wrap.
    #[test]
    fn behaves_as_a_bounded_queue(start in prop_oneof![Just(0u32), any::<u32>(), Just(u32::MAX - 20)],
                                  ops in vec(op(), 0..60)) {
        let page = Page::small();
        page.store_index(0, start);
        page.store_index(4, start);
        let mut producer = Producer::attach(LAYOUT, &page);
        let mut consumer = Consumer::attach(LAYOUT, &page);
        let mut model = VecDeque::new();
        for op in ops {
            match op {
                Op::Push(bytes) => {
                    let n = producer.push(&page, &bytes).unwrap();
                    prop_assert_eq!(n, bytes.len().min(LEN - model.len()));
                    model.extend(&bytes[..n]);
                }
                Op::Pop(want) => {
                    let mut into = vec![0; want];
                    let n = consumer.pop(&page, &mut into).unwrap();
                    prop_assert_eq!(n, want.min(model.len()));
                    for byte in &into[..n] {
                        prop_assert_eq!(Some(*byte), model.pop_front());
                    }
                }
                Op::Reattach => {
                    producer = Producer::attach(LAYOUT, &page);
                    consumer = Consumer::attach(LAYOUT, &page);
                }
            }
            prop_assert_eq!(consumer.available(&page).unwrap(), model.len());
            prop_assert_eq!(producer.free(&page).unwrap(), LEN - model.len());
        }
    }

    /// A peer that forges indices causes a fault or moves at most a queue's
    /// length of bytes, never an access outside the data (`Page` asserts it).
    #[test]
    fn forged_indices_do_no_harm(forged in vec((any::<bool>(), any::<u32>()), 1..50)) {
        let page = Page::small();
        let mut producer = Producer::attach(LAYOUT, &page);
        let mut consumer = Consumer::attach(LAYOUT, &page);
        for (which, value) in forged {
            page.store_index(if which { 0 } else { 4 }, value);
            if let Ok(n) = producer.push(&page, &[1; 64]) {
                prop_assert!(n <= LEN);
            }
            if consumer.pop(&page, &mut [0; 64]).is_err() {
                consumer.resync(&page);
                prop_assert_eq!(consumer.available(&page), Ok(0));
            }
        }
    }

    /// The console's two directions do not touch each other.
    #[test]
    fn console_directions_are_apart(text in vec(any::<u8>(), 1..3000), keys in vec(any::<u8>(), 1..2000)) {
        let page = Page::new(4096, 0..hv_abi::console::offset::IN_CONSUMED);
        let mut backend = ConsoleEnd::backend(&page);
        let mut guest = ConsoleEnd::guest(&page);
        let sent = guest.send(&page, &text).unwrap();
        prop_assert_eq!(sent, text.len().min(2048));
        let typed = backend.send(&page, &keys).unwrap();
        prop_assert_eq!(typed, keys.len().min(1024));
        let mut into = vec![0; 4096];
        let n = backend.receive(&page, &mut into).unwrap();
        prop_assert_eq!(&into[..n], &text[..sent]);
        let n = guest.receive(&page, &mut into).unwrap();
        prop_assert_eq!(&into[..n], &keys[..typed]);
    }
}

#[test]
fn a_fault_names_the_indices() {
    let page = Page::small();
    let mut consumer = Consumer::attach(LAYOUT, &page);
    page.store_index(0, 17);
    let fault = consumer.pop(&page, &mut [0; 4]).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the peer broke the ring: produced 0x11, consumed 0x0, but only 16 bytes fit"
    );
    consumer.resync(&page);
    assert_eq!(consumer.available(&page), Ok(0));
}
