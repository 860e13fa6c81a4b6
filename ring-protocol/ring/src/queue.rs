// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two ends of a byte queue.
//!
//! Invariant of an end: its private index is what it published last. `used`,
//! the distance from the consumed to the produced index, is at most the
//! queue's length, else the peer broke the protocol and gets a [`PeerFault`];
//! the end itself stays as it was and may be asked again.

use crate::RingMemory;

/// Where a queue lies within its shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    data: usize,
    len: u32,
    produced: usize,
    consumed: usize,
}

impl Layout {
    /// A queue of `len` bytes at offset `data` with its indices at the offsets
    /// `produced` and `consumed`.
    ///
    /// # Panics
    /// When `len` is no power of two below 2^31 or an index is not aligned:
    /// layouts are constants, so this is found at compile time.
    pub const fn new(data: usize, len: usize, produced: usize, consumed: usize) -> Self {
        assert!(len.is_power_of_two() && len < 1 << 31);
        assert!(produced.is_multiple_of(4) && consumed.is_multiple_of(4));
        assert!(produced != consumed);
        Self { data, len: len as u32, produced, consumed }
    }

    /// Bytes the queue can hold.
    pub const fn capacity(&self) -> usize {
        self.len as usize
    }

    /// Bytes between the indices, if they can be the indices of this queue.
    fn used(&self, produced: u32, consumed: u32) -> Result<u32, PeerFault> {
        // Both run freely modulo 2^32, so the distance wraps with them.
        let used = produced.wrapping_sub(consumed);
        if used > self.len {
            return Err(PeerFault { produced, consumed, len: self.len });
        }
        Ok(used)
    }

    /// The at most two stretches of the data area that `n` bytes from `index`
    /// on occupy: offset and length of the first, length of the second (which
    /// starts at the beginning of the area). `n` is at most the capacity.
    fn stretches(&self, index: u32, n: usize) -> (usize, usize, usize) {
        let start = (index & (self.len - 1)) as usize;
        let first = n.min(self.capacity() - start);
        (self.data + start, first, n - first)
    }
}

/// The peer's index is further away than the queue is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFault {
    /// The produced index at that moment.
    pub produced: u32,
    /// The consumed index at that moment.
    pub consumed: u32,
    /// Length of the queue.
    pub len: u32,
}

impl core::fmt::Display for PeerFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "the peer broke the ring: produced {:#x}, consumed {:#x}, but only {} bytes fit",
            self.produced, self.consumed, self.len
        )
    }
}

impl core::error::Error for PeerFault {}

/// The end that writes.
#[derive(Debug)]
pub struct Producer {
    layout: Layout,
    produced: u32,
}

impl Producer {
    /// Takes up the queue where its index in the memory says, which is where a
    /// predecessor left it. A forged index shows as a fault in the first use.
    pub fn attach(layout: Layout, memory: &impl RingMemory) -> Self {
        Self { layout, produced: memory.load_index(layout.produced) }
    }

    /// Bytes that can be pushed now.
    pub fn free(&self, memory: &impl RingMemory) -> Result<usize, PeerFault> {
        let consumed = memory.load_index(self.layout.consumed);
        let used = self.layout.used(self.produced, consumed)?;
        Ok((self.layout.len - used) as usize)
    }

    /// Appends as many bytes as fit; says how many.
    pub fn push(&mut self, memory: &impl RingMemory, bytes: &[u8]) -> Result<usize, PeerFault> {
        let n = self.free(memory)?.min(bytes.len());
        if n == 0 {
            return Ok(0);
        }
        let (offset, first, second) = self.layout.stretches(self.produced, n);
        let (head, tail) = bytes[..n].split_at(first);
        memory.write_bytes(offset, head);
        if second > 0 {
            memory.write_bytes(self.layout.data, tail);
        }
        self.produced = self.produced.wrapping_add(n as u32);
        memory.store_index(self.layout.produced, self.produced);
        Ok(n)
    }
}

/// The end that reads.
#[derive(Debug)]
pub struct Consumer {
    layout: Layout,
    consumed: u32,
}

impl Consumer {
    /// As [`Producer::attach`].
    pub fn attach(layout: Layout, memory: &impl RingMemory) -> Self {
        Self { layout, consumed: memory.load_index(layout.consumed) }
    }

    /// Bytes that can be popped now.
    pub fn available(&self, memory: &impl RingMemory) -> Result<usize, PeerFault> {
        let produced = memory.load_index(self.layout.produced);
        Ok(self.layout.used(produced, self.consumed)? as usize)
    }

    /// Moves as many bytes as there are and as fit into `into`; says how many.
    pub fn pop(&mut self, memory: &impl RingMemory, into: &mut [u8]) -> Result<usize, PeerFault> {
        let n = self.available(memory)?.min(into.len());
        if n == 0 {
            return Ok(0);
        }
        let (offset, first, second) = self.layout.stretches(self.consumed, n);
        let (head, tail) = into[..n].split_at_mut(first);
        memory.read_bytes(offset, head);
        if second > 0 {
            memory.read_bytes(self.layout.data, tail);
        }
        self.consumed = self.consumed.wrapping_add(n as u32);
        memory.store_index(self.layout.consumed, self.consumed);
        Ok(n)
    }

    /// After a [`PeerFault`]: gives up what is in the queue and goes on from
    /// the peer's index, wherever that is.
    pub fn resync(&mut self, memory: &impl RingMemory) {
        self.consumed = memory.load_index(self.layout.produced);
        memory.store_index(self.layout.consumed, self.consumed);
    }
}
