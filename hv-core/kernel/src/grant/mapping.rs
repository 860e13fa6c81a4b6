// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings of others' grants. A guest has them where it wants in its own
//! stage 2, in pages and never executable; the control domain has them at
//! their machine address. The way back is the same for all: out of the
//! table, out of stage 2, flushed everywhere, counted back, and only then is
//! the use over.
//!
//! Length: the two ways in and the one way back undo each other step by step.

use super::table::Held;
use super::turns;
use crate::domain::{Domain, destroy};
use crate::guest_memory;
use crate::memory::domain::{drop_empty_tables, map_status, range};
use crate::memory::flush::{self, Stale};
use crate::memory::foreign;
use crate::memory::pool::{self, Fate, Kind, TablesOf};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use hv_abi::grant::{COPY_ONLY, GrantEntry, GrantMap, READ_ONLY};
use hv_abi::memory::PAGES_PER_CALL;
use hv_abi::{DomainId, PAGE_SIZE, Status};
use hv_hal::addr::{Frame, Order};
use hv_hal::stage2::{Access, Cache};

/// One mapping; it owns its use of the grant.
pub struct Mapping {
    held: Held,
    /// Where the mapper has it: guest-physical; for the control domain that
    /// is the machine address.
    gpa: u64,
}

impl Mapping {
    /// The granter's number.
    pub fn granter(&self) -> DomainId {
        self.held.granter().id
    }

    /// The entry's number.
    pub fn grant(&self) -> u32 {
        self.held.grant()
    }

    /// Where, and how many pages.
    pub fn place(&self) -> (u64, u64) {
        (self.gpa, self.held.pages())
    }
}

enum Slot {
    /// The next free one, or `NONE`.
    Free(u32),
    /// A mapping is being made.
    Taken,
    Mapped(Mapping),
}

const NONE: u32 = u32::MAX;
/// A handle is generation << 16 | slot + 1: a stale one names nothing.
pub const SLOTS: u32 = 0xfffe;

/// A domain's mappings by handle.
pub struct Mappings {
    /// With the generation of each slot's latest mapping.
    slots: Vec<(u16, Slot)>,
    free: u32,
    /// Slots that are not free.
    used: u32,
    /// Of the next mapping.
    generation: u16,
}

impl Mappings {
    /// None.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, used: 0, generation: 0 }
    }

    /// Every mapping.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Mapped(mapping) => Some(mapping),
            _ => None,
        })
    }

    /// A place for a mapping that is about to be made.
    fn reserve(&mut self) -> Result<u32, Status> {
        let number = if self.free != NONE { self.free } else { self.grow()? };
        let slot = self.slots.get_mut(number as usize).ok_or(Status::Limit)?;
        if let Slot::Free(next) = slot.1 {
            self.free = next;
        }
        *slot = (self.generation, Slot::Taken);
        self.generation = self.generation.wrapping_add(1);
        self.used += 1;
        Ok(number)
    }

    /// One more slot, free and not in the list.
    fn grow(&mut self) -> Result<u32, Status> {
        let number = self.slots.len() as u32;
        if number >= SLOTS {
            return Err(Status::Limit);
        }
        if self.slots.len() == self.slots.capacity() {
            let more = self.slots.len().max(16);
            let bytes = (self.slots.len() + more) * size_of::<(u16, Slot)>();
            if !pool::make_room(bytes) || self.slots.try_reserve_exact(more).is_err() {
                return Err(Status::NoMemory);
            }
        }
        self.slots.push((0, Slot::Free(NONE)));
        Ok(number)
    }

    /// Puts a mapping into its place; its handle.
    fn put(&mut self, number: u32, mapping: Mapping) -> u32 {
        let Some(slot) = self.slots.get_mut(number as usize) else {
            return 0;
        };
        slot.1 = Slot::Mapped(mapping);
        u32::from(slot.0) << 16 | (number + 1)
    }

    fn vacate(&mut self, number: u32) -> Option<Mapping> {
        let slot = self.slots.get_mut(number as usize)?;
        if matches!(slot.1, Slot::Free(_)) {
            return None;
        }
        let old = core::mem::replace(&mut slot.1, Slot::Free(self.free));
        self.free = number;
        self.used -= 1;
        if self.used == 0 {
            // The last is gone: so is the memory that they took.
            (self.slots, self.free) = (Vec::new(), NONE);
        }
        match old {
            Slot::Mapped(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// Takes the mapping of a handle out.
    fn take(&mut self, handle: u32) -> Option<Mapping> {
        let number = (handle & 0xffff).checked_sub(1)?;
        let (generation, slot) = self.slots.get(number as usize)?;
        let fits = u32::from(*generation) == handle >> 16 && matches!(slot, Slot::Mapped(_));
        if fits { self.vacate(number) } else { None }
    }

    /// Takes some mapping out that `wanted` says yes to.
    fn take_where(&mut self, wanted: &dyn Fn(&Mapping) -> bool) -> Option<Mapping> {
        let number = self.slots.iter().position(|(_, slot)| match slot {
            Slot::Mapped(mapping) => wanted(mapping),
            _ => false,
        })?;
        self.vacate(number as u32)
    }
}

impl Default for Mappings {
    fn default() -> Self {
        Self::new()
    }
}

/// The pages of a grant that an operation names: address of the first in the
/// granter's space, and the right that is asked.
fn window(entry: &GrantEntry, op: &GrantMap) -> Result<(u64, Access), Status> {
    let read_only = op.flags & u32::from(READ_ONLY) != 0;
    if entry.flags & COPY_ONLY != 0 || entry.flags & READ_ONLY != 0 && !read_only {
        return Err(Status::Denied);
    }
    let start = entry.gpa & !(PAGE_SIZE - 1);
    let end = entry.gpa.checked_add(entry.len.into()).ok_or(Status::Fault)?;
    let there = (end - start).div_ceil(PAGE_SIZE);
    let last = u64::from(op.first) + u64::from(op.pages);
    if last > there {
        return Err(Status::Invalid);
    }
    let first = start.checked_add(u64::from(op.first) * PAGE_SIZE).ok_or(Status::Fault)?;
    Ok((first, if read_only { Access::R } else { Access::RW }))
}

/// One operation of GrantMap.
pub fn map(caller: &Arc<Domain>, op: &mut GrantMap) -> Result<(), Status> {
    let pages = u64::from(op.pages);
    let known = op.flags & !u32::from(READ_ONLY) == 0 && op.reserved == 0;
    if !known || pages == 0 || pages > PAGES_PER_CALL {
        return Err(Status::Invalid);
    }
    let granter = crate::domain::table::named(op.domain.into())?;
    if granter.id == caller.id {
        return Err(Status::Invalid);
    }
    if !caller.is_control() {
        range(op.gpa, pages)?;
    }
    let grants = &caller.grants;
    grants
        .held
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
            (n < grants.mappings_limit.load(Ordering::Relaxed)).then_some(n + 1)
        })
        .map_err(|_| Status::Limit)?;
    let slot = grants.mappings.lock().reserve();
    let made = slot.and_then(|slot| match establish(caller, &granter, op) {
        Ok(mapping) => Ok((slot, mapping)),
        Err(status) => {
            grants.mappings.lock().vacate(slot);
            Err(status)
        }
    });
    let (slot, mapping) = made.inspect_err(|_| {
        grants.held.fetch_sub(1, Ordering::Relaxed);
    })?;
    let (gpa, pages) = mapping.place();
    op.handle = grants.mappings.lock().put(slot, mapping);
    (op.gpa, op.pages) = (gpa, pages as u32);
    Ok(())
}

fn establish(
    caller: &Arc<Domain>,
    granter: &Arc<Domain>,
    op: &GrantMap,
) -> Result<Mapping, Status> {
    let (mut held, entry) = Held::begin(granter, op.grant, caller)?;
    let (first, access) = window(&entry, op)?;
    let pages = u64::from(op.pages);
    if caller.is_control() {
        let run = foreign::lend(caller, granter, first, pages, Kind::Loan)?;
        held.note_pages(run.pages);
        return Ok(Mapping { held, gpa: run.machine });
    }
    put(caller, granter, first, op.gpa, pages, access)?;
    held.note_pages(pages);
    Ok(Mapping { held, gpa: op.gpa })
}

/// Puts the granter's pages into a guest's stage 2; all or none.
fn put(
    caller: &Domain,
    granter: &Domain,
    from: u64,
    to: u64,
    pages: u64,
    access: Access,
) -> Result<(), Status> {
    let mut done = 0;
    let result = {
        let _turns = turns(caller, granter);
        if granter.is_dying() || caller.is_dying() {
            return Err(Status::Dying);
        }
        check(caller, granter, from, to, pages)?;
        // Only the core's own memory can still run out.
        loop {
            if done == pages {
                break Ok(());
            }
            let place = |base: u64| base + done * PAGE_SIZE;
            match put_page(caller, granter, place(from), place(to), access) {
                Ok(()) => done += 1,
                Err(status) => break Err(status),
            }
        }
    };
    if result.is_err() {
        let mut leaving = Leaving::new(caller);
        leaving.pages(to, done);
    }
    result
}

/// Every page is the granter's own, and the caller has nothing there.
fn check(caller: &Domain, granter: &Domain, from: u64, to: u64, pages: u64) -> Result<(), Status> {
    let (theirs, mine) = (granter.memory.stage2.read(), caller.memory.stage2.read());
    for offset in (0..pages).map(|i| i * PAGE_SIZE) {
        let at = from.checked_add(offset).ok_or(Status::Fault)?;
        guest_memory::own(granter, &theirs, at)?;
        if mine.lookup(to + offset).is_some() {
            return Err(Status::Exists);
        }
    }
    Ok(())
}

fn put_page(
    caller: &Domain,
    granter: &Domain,
    from: u64,
    to: u64,
    access: Access,
) -> Result<(), Status> {
    let frame = granter.memory.frame(from).ok_or(Status::Fault)?;
    if !pool::refer(frame, granter.id, Kind::Grant) {
        return Err(Status::Limit);
    }
    let mapped = caller.memory.stage2.write().map(
        to,
        frame,
        Order::P4K,
        access,
        Cache::WriteBack,
        &mut TablesOf(caller.id),
    );
    mapped.map_err(|error| {
        // It has an owner, whose memory can't change in our turn.
        let fate = pool::unrefer(frame, Kind::Grant);
        debug_assert!(fate != Fate::Nobodys);
        map_status(error)
    })
}

/// Frames and uses that leave between two flushes.
const ROOM: usize = 64;

/// Pages and uses on their way out of one mapper: what stage 2 has lost, but
/// some TLB may still have. [`settle`](Self::settle) ends them, at the latest
/// when this is dropped.
pub struct Leaving<'a> {
    mapper: &'a Domain,
    frames: [Frame; ROOM],
    count: usize,
    held: [Option<Held>; ROOM],
    uses: usize,
}

impl<'a> Leaving<'a> {
    /// Nothing yet.
    pub fn new(mapper: &'a Domain) -> Self {
        Self { mapper, frames: [Frame(0); ROOM], count: 0, held: [const { None }; ROOM], uses: 0 }
    }

    /// Takes a mapping down; pages it had.
    pub fn mapping(&mut self, mapping: Mapping) -> u64 {
        let (gpa, pages) = mapping.place();
        let Mapping { held, .. } = mapping;
        if self.mapper.is_control() {
            let granter = held.granter().clone();
            foreign::take_back(self.mapper, &granter, Frame::holding(gpa), pages, Kind::Loan);
            drop(held);
            destroy::forget_if_empty(&granter);
        } else {
            self.pages(gpa, pages);
            if let Some(place) = self.held.get_mut(self.uses) {
                *place = Some(held);
                self.uses += 1;
            }
            if self.uses == ROOM {
                self.settle();
            }
        }
        self.mapper.grants.held.fetch_sub(1, Ordering::Relaxed);
        pages
    }

    /// Takes pages out of stage 2.
    fn pages(&mut self, gpa: u64, pages: u64) {
        let mut done = 0;
        while done < pages {
            let part = (pages - done).min((ROOM - self.count) as u64);
            self.part(gpa + done * PAGE_SIZE, part);
            done += part;
            if self.count == ROOM {
                self.settle();
            }
        }
    }

    fn part(&mut self, gpa: u64, pages: u64) {
        let _turn = self.mapper.memory.change.lock();
        for at in (0..pages).map(|i| gpa + i * PAGE_SIZE) {
            let mut stage2 = self.mapper.memory.stage2.write();
            // In pages since it was mapped: nothing is split, nothing wanted.
            let gone = stage2.unmap(at, Order::P4K, &mut TablesOf(self.mapper.id));
            if let (Ok(Some(leaf)), Some(place)) = (gone, self.frames.get_mut(self.count)) {
                *place = leaf.frame;
                self.count += 1;
            }
        }
        drop_empty_tables(self.mapper, gpa, pages);
    }

    /// Has every CPU forget the pages, counts them back, frees those that
    /// were the last of a domain that is gone, and ends the uses.
    pub fn settle(&mut self) {
        if self.count == 0 && self.uses == 0 {
            return;
        }
        let proof = flush::everywhere(self.mapper);
        {
            let _turn = self.mapper.memory.change.lock();
            self.mapper.memory.stage2.write().reclaim(&mut TablesOf(self.mapper.id));
        }
        for frame in self.frames.iter().take(self.count) {
            let owner = pool::Uses::of(*frame).map(|u| u.owner);
            if pool::unrefer(*frame, Kind::Grant) == Fate::Nobodys {
                let owner = owner.and_then(crate::domain::table::get);
                Stale(*frame, Order::P4K).settle(&proof);
                if let Some(owner) = owner {
                    owner.memory.pages.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        self.count = 0;
        self.uses = 0;
        for held in self.held.iter_mut().filter_map(Option::take) {
            let granter = held.granter().clone();
            drop(held);
            destroy::forget_if_empty(&granter);
        }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

/// One operation of GrantUnmap; pages it had.
pub fn unmap(caller: &Domain, leaving: &mut Leaving<'_>, handle: u32) -> Result<u64, Status> {
    let mapping = caller.grants.mappings.lock().take(handle).ok_or(Status::NotFound)?;
    Ok(leaving.mapping(mapping))
}

/// Takes mappings of one domain down that `wanted` says yes to, until about
/// `budget` pages are done; true when none is left.
pub fn take_down(mapper: &Domain, wanted: &dyn Fn(&Mapping) -> bool, budget: u64) -> bool {
    let mut leaving = Leaving::new(mapper);
    let mut done = 0;
    while done < budget {
        let Some(mapping) = mapper.grants.mappings.lock().take_where(wanted) else {
            return true;
        };
        done += leaving.mapping(mapping) + 1;
    }
    false
}
