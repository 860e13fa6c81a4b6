// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random sequences of grant operations by three guests against a model that
//! fits on a page: which entries are in force, who has mapped what where,
//! whose pages are there. Every answer must be the model's, and after each
//! sequence every count. `HV_RANDOM_GRANTS` sets how many sequences are played.

use super::grants::{TABLE, WINDOW, copy, give, map, read, register, unmap, uses};
use crate::domain::Domain;
use crate::testing::{World, world};
use hv_abi::grant::{ALL, COPY_ONLY, GrantMap, GrantPlace, READ_ONLY, VALID};
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use std::sync::Arc;
use std::vec::Vec;

const GUESTS: usize = 3;
/// Entries that are played with.
const ENTRIES: usize = 4;
/// Pages of each guest that are granted: from this one on, so many.
const FIRST: u64 = 0x20;
const PAGES: u64 = 8;
/// Places in a guest's window, in pages.
const PLACES: u64 = 6;
const STEPS: u64 = 12;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % limit
    }
}

/// An entry as its granter wrote it last: first page and pages of it.
#[derive(Clone, Copy, Default)]
struct Entry {
    page: u64,
    pages: u64,
    to: usize,
    flags: u16,
}

#[derive(Clone, Copy)]
struct Mapping {
    mapper: usize,
    granter: usize,
    grant: usize,
    /// First page of the granter's, place in the window, pages.
    page: u64,
    place: u64,
    pages: u64,
    handle: u32,
}

struct Model {
    guests: [Arc<Domain>; GUESTS],
    entries: [[Entry; ENTRIES]; GUESTS],
    mappings: Vec<Mapping>,
    /// Pages that a guest has, a bit each.
    present: [u64; GUESTS],
}

impl Model {
    fn uses(&self, granter: usize, grant: usize) -> usize {
        let this = |m: &&Mapping| m.granter == granter && m.grant == grant;
        self.mappings.iter().filter(this).count()
    }

    fn user(&self, granter: usize, grant: usize) -> Option<usize> {
        let this = |m: &&Mapping| m.granter == granter && m.grant == grant;
        self.mappings.iter().find(this).map(|m| m.mapper)
    }

    /// The pages of a range are the guest's.
    fn has(&self, guest: usize, page: u64, pages: u64) -> bool {
        (page..page + pages).all(|p| self.present[guest] >> (p - FIRST) & 1 == 1)
    }

    fn is_mapped(&self, guest: usize, page: u64) -> bool {
        self.mappings
            .iter()
            .any(|m| m.granter == guest && (m.page..m.page + m.pages).contains(&page))
    }

    fn occupied(&self, mapper: usize, place: u64) -> bool {
        self.mappings
            .iter()
            .any(|m| m.mapper == mapper && (m.place..m.place + m.pages).contains(&place))
    }

    /// May a domain begin a use, as the core is to answer?
    fn begin(&self, by: usize, granter: usize, grant: usize) -> Result<Entry, Status> {
        if self.user(granter, grant).is_some_and(|user| user != by) {
            return Err(Status::Busy);
        }
        let entry = self.entries[granter][grant];
        if entry.flags & VALID == 0 || entry.to != by {
            return Err(Status::Denied);
        }
        Ok(entry)
    }

    fn map(&self, by: usize, ask: &Mapping, read_only: bool) -> Result<u64, Status> {
        let entry = self.begin(by, ask.granter, ask.grant)?;
        if entry.flags & COPY_ONLY != 0 || entry.flags & READ_ONLY != 0 && !read_only {
            return Err(Status::Denied);
        }
        // `ask.page` counts from the grant's first.
        if ask.page + ask.pages > entry.pages {
            return Err(Status::Invalid);
        }
        let page = entry.page + ask.page;
        for i in 0..ask.pages {
            if !self.has(ask.granter, page + i, 1) {
                return Err(Status::Fault);
            }
            if self.occupied(by, ask.place + i) {
                return Err(Status::Exists);
            }
        }
        Ok(page)
    }
}

fn set(model: &mut Model, random: &mut Random) {
    let (granter, grant) = (random.below(3) as usize, random.below(ENTRIES as u64) as usize);
    let page = FIRST + random.below(PAGES);
    let entry = Entry {
        page,
        pages: 1 + random.below(FIRST + PAGES - page),
        to: (granter + random.below(9).div_ceil(4) as usize) % 3,
        flags: [0, VALID, VALID, VALID, VALID | READ_ONLY, VALID | COPY_ONLY]
            [random.below(6) as usize],
    };
    let to = model.guests[entry.to].id;
    let (gpa, len) = (entry.page << 12, (entry.pages << 12) as u32);
    give(&model.guests[granter], grant as u32, gpa, len, to, entry.flags);
    model.entries[granter][grant] = entry;
}

/// Mostly the one a grant is made for, else anybody.
fn peer(model: &Model, random: &mut Random, granter: usize, grant: usize) -> usize {
    match random.below(4) {
        0 => random.below(3) as usize,
        _ => model.entries[granter][grant].to,
    }
}

fn try_map(world: &World, model: &mut Model, random: &mut Random) {
    let (granter, grant) = (random.below(3) as usize, random.below(ENTRIES as u64) as usize);
    let by = peer(model, random, granter, grant);
    let mut ask = Mapping {
        mapper: by,
        granter,
        grant,
        page: random.below(3).saturating_sub(1),
        place: random.below(PLACES),
        pages: 1 + random.below(3),
        handle: 0,
    };
    let read_only = random.below(3) == 0;
    let op = GrantMap {
        domain: model.guests[granter].id.into(),
        grant: ask.grant as u32,
        first: ask.page as u32,
        pages: ask.pages as u32,
        flags: if read_only { READ_ONLY.into() } else { 0 },
        gpa: WINDOW + (ask.place << 12),
        ..GrantMap::default()
    };
    let wanted = if by == granter { Err(Status::Invalid) } else { model.map(by, &ask, read_only) };
    let (status, op) = map(world, &model.guests[by], op);
    assert_eq!(status, wanted.err().unwrap_or(Status::Ok), "{op:?}");
    if let Ok(page) = wanted {
        (ask.page, ask.handle) = (page, op.handle);
        model.mappings.push(ask);
    }
}

fn end(world: &World, model: &mut Model, index: usize) {
    let gone = model.mappings.swap_remove(index);
    let mapper = &model.guests[gone.mapper];
    assert_eq!(unmap(world, mapper, gone.handle), Status::Ok);
    assert_eq!(unmap(world, mapper, gone.handle), Status::NotFound);
    for i in 0..gone.pages {
        assert_eq!(mapper.memory.frame(WINDOW + ((gone.place + i) << 12)), None);
    }
}

fn try_copy(world: &World, model: &Model, random: &mut Random) {
    let (granter, grant) = (random.below(3) as usize, random.below(ENTRIES as u64) as usize);
    let (by, write) = (peer(model, random, granter, grant), random.below(2) == 0);
    let offset = random.below(0x3000);
    let len = 1 + random.below(0x1800) as u32;
    let there = GrantPlace { domain: model.guests[granter].id.into(), grant: grant as u32, offset };
    let here = GrantPlace { domain: DOM_SELF as u32, grant: 0, offset: 0x3000 };
    let (from, to) = if write { (here, there) } else { (there, here) };
    let wanted = match (by == granter, model.begin(by, granter, grant)) {
        (true, _) => Status::Invalid,
        (_, Err(status)) => status,
        (_, Ok(entry)) if write && entry.flags & READ_ONLY != 0 => Status::Denied,
        (_, Ok(entry)) if offset + u64::from(len) > entry.pages << 12 => Status::Invalid,
        (_, Ok(entry)) => {
            let first = entry.page + (offset >> 12);
            let last = entry.page + ((offset + u64::from(len) - 1) >> 12);
            let there = model.has(granter, first, last - first + 1);
            if there { Status::Ok } else { Status::Fault }
        }
    };
    assert_eq!(copy(world, &model.guests[by], from, to, len), wanted, "{from:?} {to:?} {len:#x}");
}

/// A guest gives a page back, or takes it again, which it does sooner.
fn balloon(world: &World, model: &mut Model, random: &mut Random) {
    let (guest, page) = (random.below(3) as usize, FIRST + random.below(PAGES));
    let gpa = page << 12;
    if model.has(guest, page, 1) && random.below(4) == 0 {
        let wanted = if model.is_mapped(guest, page) { Status::Busy } else { Status::Ok };
        let call = H::MemoryRelease { gpa, pages: 1 };
        assert_eq!(world.call(&model.guests[guest], call).0, wanted);
        if wanted == Status::Ok {
            model.present[guest] &= !(1 << (page - FIRST));
        }
    } else if !model.has(guest, page, 1) {
        world.ok(&model.guests[guest], H::MemoryIncrease { gpa, pages: 1 });
        model.present[guest] |= 1 << (page - FIRST);
    }
}

fn revoke(world: &World, model: &mut Model, random: &mut Random) {
    let (granter, grant) = (random.below(3) as usize, random.below(ENTRIES as u64) as usize);
    let force = random.below(3) == 0;
    let (caller, domain, force) = match force {
        true => (&world.control, model.guests[granter].id.into(), 1),
        false => (&model.guests[granter], DOM_SELF, 0),
    };
    let busy = force == 0 && model.uses(granter, grant) > 0;
    let call = H::GrantRevoke { domain, grant: grant as u64, force };
    let wanted = if busy { Status::Busy } else { Status::Ok };
    assert_eq!(world.call(caller, call).0, wanted);
    model.entries[granter][grant].flags = 0;
    if force == 1 {
        model.mappings.retain(|m| m.granter != granter || m.grant != grant);
    }
}

/// What the core counts and shows is what the model knows.
fn compare(model: &Model) {
    for (granter, guest) in model.guests.iter().enumerate() {
        for grant in 0..ENTRIES {
            let wanted = model.uses(granter, grant);
            assert_eq!(uses(guest, grant as u32) as usize, wanted, "the mirror");
        }
    }
    for m in &model.mappings {
        for i in 0..m.pages {
            let seen = model.guests[m.mapper].memory.frame(WINDOW + ((m.place + i) << 12));
            let there = model.guests[m.granter].memory.frame((m.page + i) << 12);
            assert!(seen.is_some() && seen == there);
        }
    }
}

fn sequences() -> u64 {
    std::env::var("HV_RANDOM_GRANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

#[test]
fn random_sequences_do_what_the_model_does() {
    let world = world();
    let guests = core::array::from_fn(|_| world.guest(1, 64));
    guests.iter().for_each(|guest| register(&world, guest));
    let mut model = Model {
        guests,
        entries: [[Entry::default(); ENTRIES]; GUESTS],
        mappings: Vec::new(),
        present: [(1 << PAGES) - 1; GUESTS],
    };
    // Room for what is given back.
    for guest in &model.guests {
        guest.memory.max_pages.store(64, core::sync::atomic::Ordering::Relaxed);
    }
    let mut random = Random(0x5eed_5eed_1234_9876);
    let mut mapped = 0u64;
    for _ in 0..sequences() {
        for _ in 0..STEPS {
            match random.below(16) {
                0..5 => set(&mut model, &mut random),
                5..10 => try_map(&world, &mut model, &mut random),
                10 | 11 if !model.mappings.is_empty() => {
                    let index = random.below(model.mappings.len() as u64) as usize;
                    end(&world, &mut model, index);
                }
                12 | 13 => try_copy(&world, &model, &mut random),
                14 => balloon(&world, &mut model, &mut random),
                15 => revoke(&world, &mut model, &mut random),
                _ => {}
            }
        }
        mapped += model.mappings.len() as u64;
        compare(&model);
        // Now and then all at once, so that each sequence begins elsewhere.
        match random.below(8) {
            0 => {
                let granter = random.below(3) as usize;
                let all = H::GrantRevoke {
                    domain: model.guests[granter].id.into(),
                    grant: ALL,
                    force: 1,
                };
                world.ok(&world.control, all);
                model.mappings.retain(|m| m.granter != granter);
                model.entries[granter].iter_mut().for_each(|entry| entry.flags = 0);
            }
            1 => (0..model.mappings.len()).rev().for_each(|i| end(&world, &mut model, i)),
            _ => {}
        }
    }
    assert!(mapped > sequences() / 5, "hardly anything was ever mapped: {mapped}");
    let word: u64 = read(&model.guests[0], TABLE + 8);
    assert!(word >> 48 <= 7);
}
