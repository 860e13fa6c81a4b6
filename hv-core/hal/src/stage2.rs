// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 2 tables: guest-physical to machine memory, for NPT and EPT.
//!
//! A [`Stage2`] owns its tables. It only writes them: no TLB is flushed here,
//! so a frame that was unmapped may be reused only after every CPU that ran
//! on these tables has flushed ([`crate::vcpu`]). The same holds for tables
//! that a larger leaf replaces: they wait in a list until
//! [`reclaim`](Stage2::reclaim).
//!
//! Every address is an allegation: one beyond 48 bits, or one that does not
//! fit its order, is an error and never a panic.
//!
//! Length: one walker; its operations share invariants that a split would hide.

mod entry;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bitflags::bitflags;

use crate::addr::{Frame, Order};
use crate::mem;
use entry::{Entry, level_of, order_at};

/// Guest-physical addresses have so many bits: four levels.
const GPA_BITS: u32 = 48;
/// Machine addresses have at most so many bits (APM Vol. 2, 5.1).
const MACHINE_BITS: u32 = 52;
/// The level of the root table.
const TOP: u32 = 3;

/// Whose tables they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// AMD's nested page tables.
    Npt,
    /// Intel's extended page tables.
    Ept,
}

bitflags! {
    /// What a guest may do with its memory. A mapping always has `R`: NPT
    /// can't leave it out, and EPT calls `W` without it a misconfiguration.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        /// Read.
        const R = 1;
        /// Write.
        const W = 2;
        /// Execute.
        const X = 4;
        /// Read and write.
        const RW = 3;
        /// Read and execute.
        const RX = 5;
        /// Everything.
        const RWX = 7;
    }
}

/// How memory is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// As the guest's PAT says; write-back if it says nothing else.
    WriteBack,
    /// Device memory.
    Uncached,
}

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// [`Stage2::lookup`]: the frame of the very page; else the leaf's first.
    pub frame: Frame,
    /// Size of the leaf.
    pub order: Order,
    /// What the guest may do.
    pub access: Access,
    /// How it is cached.
    pub cache: Cache,
}

/// Why tables were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame for a table.
    NoMemory,
    /// Something else, or something smaller, is mapped there.
    Occupied,
    /// An address beyond the end or not a multiple of the order, or rights
    /// without `R`.
    Misaligned,
}

/// Where frames for tables come from.
pub trait TableFrames {
    /// A frame full of zeros.
    fn take(&mut self) -> Option<Frame>;
    /// Takes one back. No CPU uses it any more.
    fn give(&mut self, frame: Frame);
}

/// The CPUs take leaves of 1 GiB.
static HUGE_LEAVES: AtomicBool = AtomicBool::new(true);

/// This machine's CPUs take no leaf of 1 GiB: tables made from now on have
/// 2 MiB leaves in its place.
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
pub(crate) fn without_huge_leaves() {
    HUGE_LEAVES.store(false, Ordering::Relaxed);
}

/// The stage 2 tables of one domain.
#[derive(Debug)]
pub struct Stage2 {
    format: Format,
    root: Frame,
    /// Largest leaf.
    largest: Order,
    /// Tables in use, the root and retired ones included.
    tables: usize,
    /// Head of the list of tables that wait for a flush. The next one's
    /// address is in entry 0 of each: its present bits are clear, so a CPU
    /// that still walks such a table finds nothing.
    retired: Option<Frame>,
    /// Next guest-physical address of a teardown; None when it is done.
    cursor: Option<u64>,
}

const fn shift(level: u32) -> u32 {
    12 + 9 * level
}

fn slot(table: Frame, gpa: u64, level: u32) -> &'static AtomicU64 {
    &mem::table(table)[(gpa >> shift(level)) as usize & 511]
}

fn aligned(gpa: u64, order: Order) -> bool {
    gpa >> GPA_BITS == 0 && gpa & (order.bytes() - 1) == 0
}

impl Stage2 {
    /// Empty tables; None when there is no frame for the root.
    pub fn new(format: Format, frames: &mut dyn TableFrames) -> Option<Self> {
        let largest = match HUGE_LEAVES.load(Ordering::Relaxed) {
            true => Order::P1G,
            false => Order::P2M,
        };
        let root = frames.take()?;
        Some(Self { format, root, largest, tables: 1, retired: None, cursor: Some(0) })
    }

    /// The frame of the root table.
    pub fn root(&self) -> Frame {
        self.root
    }

    /// In which form the entries are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Frames that the tables use.
    pub fn table_pages(&self) -> usize {
        self.tables
    }

    /// Maps `order` at `gpa` to the memory that begins at `frame`. On CPUs
    /// without leaves of 1 GiB, that much is 512 leaves of 2 MiB.
    pub fn map(
        &mut self,
        gpa: u64,
        frame: Frame,
        order: Order,
        access: Access,
        cache: Cache,
        frames: &mut dyn TableFrames,
    ) -> Result<(), MapError> {
        let machine = frame.0 & (order.pages() - 1) == 0 && frame.0 >> (MACHINE_BITS - 12) == 0;
        if !aligned(gpa, order) || !machine || !access.contains(Access::R) {
            return Err(MapError::Misaligned);
        }
        let level = level_of(order);
        let mut table = self.root;
        for above in (level + 1..=TOP).rev() {
            let place = slot(table, gpa, above);
            table = match self.read(place, above) {
                Entry::Table(next) => next,
                Entry::Leaf { .. } => return Err(MapError::Occupied),
                Entry::Empty => {
                    let next = self.take(frames)?;
                    self.write(place, above, Entry::Table(next));
                    next
                }
            };
        }
        let place = slot(table, gpa, level);
        match self.read(place, level) {
            Entry::Empty => {}
            Entry::Leaf { .. } => return Err(MapError::Occupied),
            Entry::Table(below) => self.retire_empty(place, level, below)?,
        }
        let entry = if order > self.largest {
            let below = self.take(frames)?;
            self.fill(below, level - 1, frame, access, cache);
            Entry::Table(below)
        } else {
            Entry::Leaf { frame, access, cache }
        };
        self.write(place, level, entry);
        Ok(())
    }

    /// Removes the mapping of `order` at `gpa`, after splitting a larger leaf
    /// where there is one. `Ok(None)`: nothing was mapped. Smaller leaves
    /// below are `Occupied`: unmap those.
    pub fn unmap(
        &mut self,
        gpa: u64,
        order: Order,
        frames: &mut dyn TableFrames,
    ) -> Result<Option<Leaf>, MapError> {
        if !aligned(gpa, order) {
            return Err(MapError::Misaligned);
        }
        let level = level_of(order);
        let mut table = self.root;
        for above in (level + 1..=TOP).rev() {
            let place = slot(table, gpa, above);
            table = match self.read(place, above) {
                Entry::Table(next) => next,
                Entry::Empty => return Ok(None),
                Entry::Leaf { frame, access, cache } => {
                    let next = self.take(frames)?;
                    self.fill(next, above - 1, frame, access, cache);
                    self.write(place, above, Entry::Table(next));
                    next
                }
            };
        }
        let place = slot(table, gpa, level);
        match self.read(place, level) {
            Entry::Empty => Ok(None),
            Entry::Table(below) => self.retire_empty(place, level, below).map(|()| None),
            Entry::Leaf { frame, access, cache } => {
                self.write(place, level, Entry::Empty);
                Ok(Some(Leaf { frame, order, access, cache }))
            }
        }
    }

    /// What is mapped at an address; `frame` is that of its very page.
    pub fn lookup(&self, gpa: u64) -> Option<Leaf> {
        lookup(self.format, self.root, gpa)
    }

    /// Gives back the tables that larger leaves have replaced. To be called
    /// after every CPU that ran on these tables has flushed.
    pub fn reclaim(&mut self, frames: &mut dyn TableFrames) {
        while let Some(table) = self.retired {
            let next = mem::table(table)[0].load(Ordering::Relaxed);
            self.retired = (next != 0).then(|| Frame::holding(next));
            self.tables -= 1;
            frames.give(table);
        }
    }

    /// Unmaps everything and gives back every table, the root included, in
    /// steps: it looks at up to `budget` entries and says whether it is done.
    /// `leaf` hears of each mapping. No CPU may use these tables any more,
    /// and nothing else may be called after the first step.
    pub fn teardown(
        &mut self,
        budget: usize,
        frames: &mut dyn TableFrames,
        leaf: &mut dyn FnMut(u64, Leaf),
    ) -> bool {
        self.reclaim(frames);
        for _ in 0..budget {
            let Some(gpa) = self.cursor else { return true };
            self.teardown_step(gpa, frames, leaf);
        }
        self.cursor.is_none()
    }

    fn teardown_step(
        &mut self,
        gpa: u64,
        frames: &mut dyn TableFrames,
        leaf: &mut dyn FnMut(u64, Leaf),
    ) {
        let mut path = [self.root; TOP as usize + 1];
        let mut level = TOP;
        while let Entry::Table(next) = self.read(slot(path[level as usize], gpa, level), level) {
            level -= 1;
            path[level as usize] = next;
        }
        let place = slot(path[level as usize], gpa, level);
        if let Entry::Leaf { frame, access, cache } = self.read(place, level) {
            self.write(place, level, Entry::Empty);
            let order = order_at(level);
            leaf(gpa, Leaf { frame, order, access, cache });
        }
        // Behind the last entry of a table: the table goes, and so on upwards.
        let next = gpa + (1 << shift(level));
        while level < TOP && next & ((1 << shift(level + 1)) - 1) == 0 {
            let table = path[level as usize];
            level += 1;
            self.write(slot(path[level as usize], gpa, level), level, Entry::Empty);
            self.tables -= 1;
            frames.give(table);
        }
        self.cursor = Some(next);
        if next >> GPA_BITS != 0 {
            self.cursor = None;
            self.tables -= 1;
            frames.give(self.root);
        }
    }

    fn take(&mut self, frames: &mut dyn TableFrames) -> Result<Frame, MapError> {
        let frame = frames.take().ok_or(MapError::NoMemory)?;
        self.tables += 1;
        Ok(frame)
    }

    /// Fills a fresh table so that it says what one larger leaf said.
    fn fill(&self, table: Frame, level: u32, first: Frame, access: Access, cache: Cache) {
        for (index, place) in mem::table(table).iter().enumerate() {
            let frame = first.plus(index as u64 * order_at(level).pages());
            let leaf = Entry::Leaf { frame, access, cache };
            self.write(place, level, leaf);
        }
    }

    /// Takes the table `below` out of `place` if nothing is mapped in it, nor
    /// in its own tables.
    fn retire_empty(
        &mut self,
        place: &AtomicU64,
        level: u32,
        below: Frame,
    ) -> Result<(), MapError> {
        // At most two levels: a table of 2 MiB entries over tables of pages.
        for entry in mem::table(below) {
            match self.read(entry, level - 1) {
                Entry::Empty => {}
                Entry::Leaf { .. } => return Err(MapError::Occupied),
                Entry::Table(pages) => {
                    let empty =
                        |e: &AtomicU64| self.read(e, level.saturating_sub(2)) == Entry::Empty;
                    if !mem::table(pages).iter().all(empty) {
                        return Err(MapError::Occupied);
                    }
                }
            }
        }
        self.write(place, level, Entry::Empty);
        for entry in mem::table(below) {
            if let Entry::Table(pages) = self.read(entry, level - 1) {
                self.write(entry, level - 1, Entry::Empty);
                self.retire(pages);
            }
        }
        self.retire(below);
        Ok(())
    }

    fn retire(&mut self, table: Frame) {
        let next = self.retired.map_or(0, Frame::address);
        mem::table(table)[0].store(next, Ordering::Relaxed);
        self.retired = Some(table);
    }

    fn read(&self, place: &AtomicU64, level: u32) -> Entry {
        Entry::decode(self.format, level, place.load(Ordering::Relaxed))
    }

    /// Release: a CPU that sees a table's entry sees the table's content.
    fn write(&self, place: &AtomicU64, level: u32, entry: Entry) {
        place.store(entry.encode(self.format, level), Ordering::Release);
    }
}

/// [`Stage2::lookup`] for one who knows only the root: the vCPU itself.
pub(crate) fn lookup(format: Format, root: Frame, gpa: u64) -> Option<Leaf> {
    if gpa >> GPA_BITS != 0 {
        return None;
    }
    let mut table = root;
    for level in (0..=TOP).rev() {
        let bits = slot(table, gpa, level).load(Ordering::Acquire);
        match Entry::decode(format, level, bits) {
            Entry::Empty => return None,
            Entry::Table(next) => table = next,
            Entry::Leaf { frame, access, cache } => {
                let order = order_at(level);
                return Some(Leaf {
                    frame: frame.plus((gpa >> 12) & (order.pages() - 1)),
                    order,
                    access,
                    cache,
                });
            }
        }
    }
    None
}
