// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tags of TLB entries (ASID, VPID), handed out per CPU in generations.
//!
//! A tag is never taken back. When a CPU runs out, a new generation begins
//! with one flush of everything, and every vCPU there takes a fresh tag at its
//! next entry. So a fresh tag is also the way to flush one vCPU.

use crate::addr::CpuId;

/// A vCPU's tag, good on one CPU and in one generation. Number 0 is the
/// host's (SDM Vol. 3, 29.1; APM Vol. 2, 15.16) and never handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    cpu: CpuId,
    generation: u64,
    number: u32,
}

impl Tag {
    /// What goes into the control block.
    pub fn number(self) -> u32 {
        self.number
    }
}

/// The tags of one CPU.
#[derive(Debug)]
pub struct Tags {
    generation: u64,
    next: u32,
}

impl Tags {
    /// Nothing was handed out yet: the first `fresh` begins a generation.
    pub const fn new() -> Self {
        Self { generation: 0, next: u32::MAX }
    }

    /// A new tag from 1..=`last`, and whether all tags must be flushed before
    /// it is used.
    pub fn fresh(&mut self, cpu: CpuId, last: u32) -> (Tag, bool) {
        let wrapped = self.next > last;
        if wrapped {
            self.generation += 1;
            self.next = 1;
        }
        let number = self.next;
        self.next += 1;
        (Tag { cpu, generation: self.generation, number }, wrapped)
    }

    /// The tag may still be used on this CPU.
    pub fn good(&self, cpu: CpuId, tag: Tag) -> bool {
        tag.cpu == cpu && tag.generation == self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_used_once_in_a_generation_and_never_zero() {
        let (cpu, mut tags) = (CpuId(3), Tags::new());
        let (first, flush) = tags.fresh(cpu, 3);
        assert!(flush, "what firmware left behind goes away");
        assert_eq!(first.number(), 1);
        assert_eq!([2, 3].map(|_| tags.fresh(cpu, 3).0.number()), [2, 3]);
        assert!(tags.good(cpu, first) && !tags.good(CpuId(4), first));
        let (again, flush) = tags.fresh(cpu, 3);
        assert!(flush && again.number() == 1);
        assert!(!tags.good(cpu, first) && tags.good(cpu, again));
    }

    #[test]
    fn one_tag_is_enough_to_live_on() {
        let mut tags = Tags::new();
        for _ in 0..10 {
            let (tag, flush) = tags.fresh(CpuId(0), 1);
            assert!(flush && tag.number() == 1);
        }
    }
}
