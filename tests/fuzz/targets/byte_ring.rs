// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue whose peer writes anything into indices and data between any two
//! steps: what is taken is never more than there is room for.
#![no_main]

use core::cell::RefCell;

use hv_ring::{Consumer, Layout, Producer, RingMemory};
use libfuzzer_sys::fuzz_target;

const LAYOUT: Layout = Layout::new(8, 64, 0, 4);

struct Memory(RefCell<[u8; 72]>);

impl RingMemory for Memory {
    fn load_index(&self, offset: usize) -> u32 {
        let bytes = self.0.borrow();
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    fn store_index(&self, offset: usize, value: u32) {
        self.0.borrow_mut()[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn read_bytes(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0.borrow()[offset..offset + into.len()]);
    }

    fn write_bytes(&self, offset: usize, from: &[u8]) {
        self.0.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }
}

fuzz_target!(|steps: &[u8]| {
    let memory = Memory(RefCell::new([0; 72]));
    let mut producer = Producer::attach(LAYOUT, &memory);
    let mut consumer = Consumer::attach(LAYOUT, &memory);
    for step in steps.chunks_exact(3) {
        let [what, at, value] = *step else { continue };
        let length = usize::from(value) % 80;
        match what % 5 {
            0 => memory.0.borrow_mut()[usize::from(at) % 72] = value,
            1 => {
                if let Ok(n) = producer.push(&memory, &vec![at; length]) {
                    assert!(n <= length);
                }
            }
            2 => {
                let mut into = vec![0; length];
                if let Ok(n) = consumer.pop(&memory, &mut into) {
                    assert!(n <= length);
                }
            }
            3 => consumer.resync(&memory),
            _ => {
                let _ = producer.free(&memory).map(|n| assert!(n <= 64));
                let _ = consumer.available(&memory).map(|n| assert!(n <= 64));
            }
        }
    }
});
