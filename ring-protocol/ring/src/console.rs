// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console page's two queues, as `hv_abi::console` lays them out.

use crate::{Consumer, Layout, PeerFault, Producer, RingMemory};
use hv_abi::console::{IN_LEN, OUT_LEN, offset};

/// From the backend to the guest.
pub const INPUT: Layout = Layout::new(offset::IN, IN_LEN, offset::IN_PRODUCED, offset::IN_CONSUMED);

/// From the guest to the backend.
pub const OUTPUT: Layout =
    Layout::new(offset::OUT, OUT_LEN, offset::OUT_PRODUCED, offset::OUT_CONSUMED);

/// One side's two ends: what it sends and what it receives.
#[derive(Debug)]
pub struct ConsoleEnd {
    send: Producer,
    receive: Consumer,
}

impl ConsoleEnd {
    /// The control domain's side: sends input, receives output.
    pub fn backend(memory: &impl RingMemory) -> Self {
        Self { send: Producer::attach(INPUT, memory), receive: Consumer::attach(OUTPUT, memory) }
    }

    /// The guest's side: sends output, receives input.
    pub fn guest(memory: &impl RingMemory) -> Self {
        Self { send: Producer::attach(OUTPUT, memory), receive: Consumer::attach(INPUT, memory) }
    }

    /// Sends as much as fits; says how much.
    pub fn send(&mut self, memory: &impl RingMemory, bytes: &[u8]) -> Result<usize, PeerFault> {
        self.send.push(memory, bytes)
    }

    /// Receives what is there; says how much.
    pub fn receive(
        &mut self,
        memory: &impl RingMemory,
        into: &mut [u8],
    ) -> Result<usize, PeerFault> {
        self.receive.pop(memory, into)
    }

    /// Goes on after the peer broke the receiving queue.
    pub fn resync(&mut self, memory: &impl RingMemory) {
        self.receive.resync(memory);
    }
}
