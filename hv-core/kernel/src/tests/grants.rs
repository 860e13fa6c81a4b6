// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants end to end: each call's success and refusals, revocation, death on
//! either side. [`super::grant_model`] plays at random what is here by hand.
//!
//! Length: a test a refusal, over one small set of guests.

use crate::domain::{Domain, table as domains};
use crate::memory::pool;
use crate::testing::{World, world};
use hv_abi::domain::limit;
use hv_abi::grant::{
    ALL, COPY_ONLY, GrantCopy, GrantEntry, GrantInfo, GrantMap, GrantPlace, GrantUnmap, READ_ONLY,
    VALID,
};
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use hv_hal::mem;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where tables, operations and grants are in each guest.
pub const TABLE: u64 = 0x1_0000;
pub const OPS: u64 = 0x1_2000;
pub const DATA: u64 = 0x1_8000;
/// Where guests map others' pages.
pub const WINDOW: u64 = 0x4000_0000;

/// Where a domain keeps its operations: the control domain has memory only
/// in part of what a guest has.
fn ops(domain: &Domain) -> u64 {
    if domain.is_control() { 24 << 12 } else { OPS }
}

pub fn write<T: IntoBytes + Immutable>(domain: &Domain, gpa: u64, value: &T) {
    crate::guest_memory::write(domain, gpa, value).unwrap();
}

pub fn read<T: FromBytes + IntoBytes>(domain: &Domain, gpa: u64) -> T {
    crate::guest_memory::read(domain, gpa).unwrap()
}

/// Registers a table of 128 entries.
pub fn register(world: &World, domain: &Arc<Domain>) {
    world.ok(domain, H::GrantTable { gpa: TABLE, log2_entries: 7 });
}

/// Writes an entry as a guest does, its `uses` left alone.
pub fn give(domain: &Domain, grant: u32, gpa: u64, len: u32, to: u16, flags: u16) {
    let at = TABLE + u64::from(grant) * 32;
    write(domain, at, &gpa);
    write(domain, at + 8, &GrantEntry::word(len, to, flags));
}

/// The mirror of an entry's uses.
pub fn uses(domain: &Domain, grant: u32) -> u32 {
    read::<GrantEntry>(domain, TABLE + u64::from(grant) * 32).uses
}

fn status(code: u32) -> Status {
    Status::from_code(code.into()).unwrap()
}

/// One mapping of whole pages.
pub fn map(world: &World, by: &Arc<Domain>, op: GrantMap) -> (Status, GrantMap) {
    write(by, ops(by), &op);
    assert_eq!(world.ok(by, H::GrantMap { gpa: ops(by), count: 1 }), 1);
    let op: GrantMap = read(by, ops(by));
    (status(op.status), op)
}

pub fn unmap(world: &World, by: &Arc<Domain>, handle: u32) -> Status {
    write(by, ops(by), &GrantUnmap { handle, status: 99 });
    assert_eq!(world.ok(by, H::GrantUnmap { gpa: ops(by), count: 1 }), 1);
    status(read::<GrantUnmap>(by, ops(by)).status)
}

pub fn copy(world: &World, by: &Arc<Domain>, from: GrantPlace, to: GrantPlace, len: u32) -> Status {
    write(by, ops(by), &GrantCopy { from, to, len, status: 99 });
    assert_eq!(world.ok(by, H::GrantCopy { gpa: ops(by), count: 1 }), 1);
    status(read::<GrantCopy>(by, ops(by)).status)
}

fn own(offset: u64) -> GrantPlace {
    GrantPlace { domain: DOM_SELF as u32, grant: 0, offset }
}

fn of(domain: &Domain, grant: u32, offset: u64) -> GrantPlace {
    GrantPlace { domain: domain.id.into(), grant, offset }
}

fn ask(granter: &Domain, grant: u32, pages: u32, gpa: u64) -> GrantMap {
    GrantMap { domain: granter.id.into(), grant, pages, gpa, ..GrantMap::default() }
}

fn revoke(domain: u64, grant: u64, force: u64) -> H {
    H::GrantRevoke { domain, grant, force }
}

struct Pair {
    world: World,
    a: Arc<Domain>,
    b: Arc<Domain>,
}

/// Two guests; `a` grants.
fn pair() -> Pair {
    let world = world();
    let (a, b) = (world.guest(1, 64), world.guest(1, 64));
    register(&world, &a);
    Pair { world, a, b }
}

#[test]
fn a_guest_maps_what_it_was_granted_and_nothing_else() {
    let Pair { world, a, b } = pair();
    give(&a, 3, DATA, 0x3000, b.id, VALID);
    let (status, op) = map(&world, &b, GrantMap { first: 1, ..ask(&a, 3, 2, WINDOW) });
    assert_eq!((status, op.gpa, op.pages), (Status::Ok, WINDOW, 2));
    let leaf = b.memory.stage2.read().lookup(WINDOW + 0x1000).unwrap();
    assert_eq!(Some(leaf.frame), a.memory.frame(DATA + 0x2000));
    assert_eq!(leaf.access, hv_hal::stage2::Access::RW, "never executable");
    assert_eq!(b.memory.frame(WINDOW + 0x2000), None);
    assert_eq!(uses(&a, 3), 1);
    // What is mapped is not the mapper's own: no call takes it.
    let print = H::ConsoleWrite { gpa: WINDOW, len: 1 };
    assert_eq!(world.call(&b, print).0, Status::Fault);
    let release = |gpa| H::MemoryRelease { gpa, pages: 1 };
    assert_eq!(world.call(&b, release(WINDOW)).0, Status::NotFound);
    assert_eq!(world.call(&a, release(DATA + 0x1000)).0, Status::Busy);
    assert_eq!(unmap(&world, &b, op.handle), Status::Ok);
    assert_eq!(unmap(&world, &b, op.handle), Status::NotFound);
    assert_eq!((b.memory.frame(WINDOW), uses(&a, 3)), (None, 0));
    world.ok(&a, release(DATA + 0x1000));
}

#[test]
fn wrong_maps_are_refused_and_leave_nothing() {
    let Pair { world, a, b } = pair();
    let c = world.guest(1, 8);
    give(&a, 0, DATA, 0x2000, b.id, VALID);
    give(&a, 1, DATA, 0x2000, b.id, VALID | READ_ONLY);
    give(&a, 2, DATA, 0x2000, b.id, VALID | COPY_ONLY);
    give(&a, 3, DATA, 0x2000, c.id, VALID);
    give(&a, 4, DATA, 0x2000, b.id, 0);
    give(&a, 5, DATA, 0, b.id, VALID);
    give(&a, 6, u64::MAX - 10, 0x2000, b.id, VALID);
    give(&a, 7, 0x4_0000, 0x2000, b.id, VALID);
    give(&a, 8, DATA, 0x2000, b.id, VALID | 8);
    give(&a, 9, 0x3_f000, 0x2000, b.id, VALID);
    let good = ask(&a, 0, 2, WINDOW);
    for (op, wanted) in [
        (GrantMap { pages: 0, ..good }, Status::Invalid),
        (GrantMap { pages: 513, ..good }, Status::Invalid),
        (GrantMap { pages: 3, ..good }, Status::Invalid),
        (GrantMap { first: 1, ..good }, Status::Invalid),
        (GrantMap { first: u32::MAX, ..good }, Status::Invalid),
        (GrantMap { flags: 1, ..good }, Status::Invalid),
        (GrantMap { reserved: 1, ..good }, Status::Invalid),
        (GrantMap { gpa: WINDOW + 1, ..good }, Status::Invalid),
        (GrantMap { gpa: (1 << 47) - 0x1000, ..good }, Status::Invalid),
        (GrantMap { gpa: u64::MAX - 0xfff, ..good }, Status::Invalid),
        (GrantMap { gpa: 0x3000, ..good }, Status::Exists),
        (GrantMap { gpa: 0x3_f000, ..good }, Status::Exists),
        (GrantMap { domain: b.id.into(), ..good }, Status::Invalid),
        (GrantMap { domain: 3000, ..good }, Status::NotFound),
        (GrantMap { domain: DOM_SELF as u32, ..good }, Status::NotFound),
        (GrantMap { domain: c.id.into(), ..good }, Status::NotFound),
        (GrantMap { grant: 128, ..good }, Status::NotFound),
        (GrantMap { grant: u32::MAX, ..good }, Status::NotFound),
        (GrantMap { grant: 1, ..good }, Status::Denied),
        (GrantMap { grant: 2, ..good }, Status::Denied),
        (GrantMap { grant: 3, ..good }, Status::Denied),
        (GrantMap { grant: 4, ..good }, Status::Denied),
        (GrantMap { grant: 5, ..good }, Status::Invalid),
        (GrantMap { grant: 6, ..good }, Status::Fault),
        (GrantMap { grant: 7, ..good }, Status::Fault),
        (GrantMap { grant: 8, ..good }, Status::Invalid),
        (GrantMap { grant: 9, ..good }, Status::Fault),
    ] {
        assert_eq!(map(&world, &b, op).0, wanted, "{op:?}");
    }
    assert!((0..10).all(|grant| uses(&a, grant) == 0));
    assert_eq!(world.call(&b, H::GrantMap { gpa: OPS, count: 0 }).0, Status::Invalid);
    assert_eq!(world.call(&b, H::GrantMap { gpa: OPS, count: 65 }).0, Status::Invalid);
    assert_eq!(world.call(&b, H::GrantMap { gpa: 0x3_fff0, count: 1 }).0, Status::Fault);
    assert_eq!(world.call(&b, H::GrantMap { gpa: u64::MAX - 7, count: 1 }).0, Status::Fault);
    let read_only = GrantMap { grant: 1, flags: READ_ONLY.into(), ..good };
    let (status, op) = map(&world, &b, read_only);
    assert_eq!(status, Status::Ok);
    let leaf = b.memory.stage2.read().lookup(WINDOW).unwrap();
    assert_eq!(leaf.access, hv_hal::stage2::Access::R);
    assert_eq!(unmap(&world, &b, op.handle), Status::Ok);
}

#[test]
fn tables_are_registered_once_and_within_their_limits() {
    let world = world();
    let guest = world.guest(1, 64);
    let table = |gpa, log2_entries| H::GrantTable { gpa, log2_entries };
    for (call, wanted) in [
        (table(TABLE, 6), Status::Invalid),
        (table(TABLE, 15), Status::Invalid),
        (table(TABLE, u64::MAX), Status::Invalid),
        (table(TABLE + 8, 7), Status::Invalid),
        (table(0x3_f000, 8), Status::Fault),
        (table(0x5_0000, 7), Status::Fault),
        (table(!0xfff, 8), Status::Fault),
    ] {
        assert_eq!(world.call(&guest, call).0, wanted, "{call:?}");
    }
    let id = guest.id.into();
    let set = |value| H::DomainLimit { domain: id, limit: limit::GRANTS, value };
    assert_eq!(world.ok(&world.control, set(200)), 200);
    assert_eq!(world.call(&guest, table(TABLE, 8)).0, Status::Limit);
    world.ok(&guest, table(TABLE, 7));
    assert_eq!(world.call(&guest, table(TABLE, 7)).0, Status::State);
    assert_eq!(world.call(&world.control, set(400)).0, Status::State);
    assert_eq!(world.ok(&world.control, set(limit::ASK)), 200);
}

#[test]
fn the_control_domain_sees_grants_at_their_machine_address() {
    let Pair { world, a, .. } = pair();
    give(&a, 0, DATA + 0x10, 0x1ff0, 0, VALID);
    let (status, op) = map(&world, &world.control, ask(&a, 0, 2, 0));
    let machine = a.memory.frame(DATA).unwrap().address();
    assert_eq!((status, op.gpa, op.pages), (Status::Ok, machine, 2));
    assert!(world.control.memory.frame(machine + 0x1000).is_some());
    // MemoryUnmap ends only what MemoryMap began.
    let steal = H::MemoryUnmap { machine, pages: 1 };
    assert_eq!(world.call(&world.control, steal).0, Status::NotFound);
    let more = H::MemoryMap { domain: a.id.into(), gpa: DATA, pages: 1, out_gpa: 20 << 12 };
    world.ok(&world.control, more);
    assert_eq!(unmap(&world, &world.control, op.handle), Status::Ok);
    assert!(world.control.memory.frame(machine).is_some(), "still mapped by MemoryMap");
    assert!(world.control.memory.frame(machine + 0x1000).is_none());
    world.ok(&world.control, steal);
    assert!(world.control.memory.frame(machine).is_none());
}

#[test]
fn copies_go_both_ways_at_any_byte() {
    let Pair { world, a, b } = pair();
    let text = *b"a text that crosses a page";
    let len = text.len() as u32;
    crate::guest_memory::write_bytes(&a, DATA + 0xff0, &text).unwrap();
    give(&a, 0, DATA + 0xfe0, 0x40, b.id, VALID);
    assert_eq!(copy(&world, &b, of(&a, 0, 0x10), own(0x2_0ff9), len), Status::Ok);
    let mut got = [0u8; 26];
    crate::guest_memory::read_bytes(&b, 0x2_0ff9, &mut got).unwrap();
    assert_eq!(got, text);
    assert_eq!(copy(&world, &b, own(0x2_0ff9), of(&a, 0, 0), 26), Status::Ok);
    crate::guest_memory::read_bytes(&a, DATA + 0xfe0, &mut got).unwrap();
    assert_eq!(got, text);
    // From grant to grant, of one granter and of two.
    give(&a, 1, 0x2_8001, 0x40, b.id, VALID);
    assert_eq!(copy(&world, &b, of(&a, 0, 0), of(&a, 1, 3), 26), Status::Ok);
    crate::guest_memory::read_bytes(&a, 0x2_8004, &mut got).unwrap();
    assert_eq!(got, text);
    give(&a, 2, DATA, 0x40, b.id, VALID | READ_ONLY);
    let (own_at, there) = (own(0x2_0000), of(&a, 0, 0));
    for (from, to, len, wanted) in [
        (there, own_at, 0, Status::Invalid),
        (there, own_at, 0x1_0001, Status::Invalid),
        (there, own_at, 0x41, Status::Invalid),
        (of(&a, 0, 0x40), own_at, 1, Status::Invalid),
        (of(&a, 0, u64::MAX), own_at, 2, Status::Invalid),
        (of(&a, 3, 0), own_at, 1, Status::Denied),
        (of(&a, 128, 0), own_at, 1, Status::NotFound),
        (of(&b, 0, 0), own_at, 1, Status::Invalid),
        (own_at, of(&a, 2, 0), 1, Status::Denied),
        (GrantPlace { grant: 1, ..own_at }, there, 1, Status::Invalid),
        (there, own(0x3_fff0), 0x11, Status::Fault),
        (there, own(u64::MAX), 1, Status::Fault),
        (own(0x3_fff0), there, 0x11, Status::Fault),
        (GrantPlace { domain: 3000, ..there }, own_at, 1, Status::NotFound),
    ] {
        assert_eq!(copy(&world, &b, from, to, len), wanted, "{from:?} {to:?} {len}");
    }
    // Refused half-way, it has copied nothing.
    give(&a, 4, 0x3_fff0, 0x100, b.id, VALID);
    crate::guest_memory::write_bytes(&b, 0x2_0000, &[7; 0x20]).unwrap();
    assert_eq!(copy(&world, &b, own_at, of(&a, 4, 0), 0x20), Status::Fault);
    let mut end = [1u8; 16];
    crate::guest_memory::read_bytes(&a, 0x3_fff0, &mut end).unwrap();
    assert_eq!(end, [0; 16]);
    assert!((0..5).all(|grant| uses(&a, grant) == 0));
}

#[test]
fn what_is_in_use_is_revoked_by_force_only() {
    let Pair { world, a, b } = pair();
    let (ida, idb) = (u64::from(a.id), u64::from(b.id));
    give(&a, 0, DATA, 0x2000, b.id, VALID);
    give(&a, 1, DATA, 0x1000, b.id, VALID);
    let (_, op) = map(&world, &b, ask(&a, 0, 2, WINDOW));
    let (_, other) = map(&world, &b, ask(&a, 1, 1, WINDOW + 0x10_0000));
    assert_eq!(world.call(&a, revoke(DOM_SELF, 0, 0)).0, Status::Busy);
    assert_eq!(map(&world, &b, ask(&a, 0, 1, WINDOW + 0x4000)).0, Status::Denied, "cleared");
    // A grant in use is nobody else's, whatever its entry says.
    let c = world.guest(1, 64);
    give(&a, 0, DATA, 0x2000, c.id, VALID);
    assert_eq!(map(&world, &c, ask(&a, 0, 1, WINDOW)).0, Status::Busy);
    for (by, call, wanted) in [
        (&b, revoke(ida, 0, 0), Status::Denied),
        (&b, revoke(DOM_SELF, 0, 1), Status::Denied),
        (&a, revoke(DOM_SELF, 0, 1), Status::Denied),
        (&a, revoke(DOM_SELF, ALL, 0), Status::Invalid),
        (&a, revoke(DOM_SELF, 128, 0), Status::NotFound),
        (&a, revoke(DOM_SELF, u64::MAX, 0), Status::NotFound),
        (&world.control, revoke(ida, 0, 2), Status::Invalid),
        (&world.control, revoke(3000, 0, 1), Status::NotFound),
        (&world.control, revoke(idb, 0, 1), Status::NotFound),
        (&world.control, revoke(ida, 0, 0), Status::Busy),
    ] {
        assert_eq!(world.call(by, call).0, wanted, "{call:?}");
    }
    world.ok(&world.control, revoke(ida, 0, 1));
    assert_eq!((b.memory.frame(WINDOW), uses(&a, 0)), (None, 0));
    assert!(b.memory.frame(WINDOW + 0x10_0000).is_some());
    assert_eq!(unmap(&world, &b, op.handle), Status::NotFound);
    world.ok(&world.control, revoke(ida, ALL, 1));
    assert_eq!((b.memory.frame(WINDOW + 0x10_0000), uses(&a, 1)), (None, 0));
    assert_eq!(unmap(&world, &b, other.handle), Status::NotFound);
}

#[test]
fn a_granter_that_dies_stays_as_a_shell_until_the_last_mapping() {
    let Pair { world, a, b } = pair();
    let free = pool::stats().1;
    give(&a, 0, DATA, 0x2000, b.id, VALID);
    give(&a, 1, DATA + 0x1000, 0x1000, 0, VALID);
    let (_, op) = map(&world, &b, ask(&a, 0, 2, WINDOW));
    let (_, loan) = map(&world, &world.control, ask(&a, 1, 1, 0));
    mem::write(a.memory.frame(DATA).unwrap(), 0, b"kept");
    world.destroy(a.clone());
    let dying = domains::get(a.id).unwrap();
    assert!(dying.is_dying() && dying.memory.pages.load(core::sync::atomic::Ordering::SeqCst) == 2);
    let mut kept = [0; 4];
    mem::read(b.memory.frame(WINDOW).unwrap(), 0, &mut kept);
    assert_eq!(&kept, b"kept");
    assert_eq!(map(&world, &b, ask(&a, 0, 1, WINDOW + 0x8000)).0, Status::Dying);
    assert_eq!(copy(&world, &b, of(&a, 0, 0), own(0x2_0000), 1), Status::Dying);
    let query = H::GrantQuery { domain: a.id.into(), grant: 0, gpa: OPS };
    assert_eq!(world.call(&b, query).0, Status::Dying);
    drop(dying);
    assert_eq!(unmap(&world, &b, op.handle), Status::Ok);
    assert!(domains::get(a.id).is_some(), "the control domain still has a page");
    assert_eq!(unmap(&world, &world.control, loan.handle), Status::Ok);
    assert!(domains::get(a.id).is_none());
    assert!(pool::stats().1 > free);
}

#[test]
fn a_forced_revocation_ends_a_dead_granter() {
    let Pair { world, a, b } = pair();
    let id = u64::from(a.id);
    for grant in 0..100 {
        give(&a, grant, DATA, 0x2000, b.id, VALID);
        let at = WINDOW + u64::from(grant) * 0x20_0000;
        assert_eq!(map(&world, &b, ask(&a, grant, 2, at)).0, Status::Ok);
    }
    world.destroy(a);
    assert!(domains::get(id as u16).is_some());
    let mut steps = 1;
    while world.call(&world.control, revoke(id, ALL, 1)).0 == Status::Again {
        steps += 1;
    }
    assert!(domains::get(id as u16).is_none() && steps < 10, "{steps}");
    assert_eq!(b.grants.held.load(core::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_mapper_that_dies_gives_everything_back_in_steps() {
    let Pair { world, a, b } = pair();
    let big = world.guest(1, 600);
    register(&world, &big);
    for grant in 0..100 {
        give(&big, grant, 0x2_0000, 0x10_0000, b.id, VALID);
        let at = WINDOW + u64::from(grant) * 0x20_0000;
        assert_eq!(map(&world, &b, ask(&big, grant, 256, at)).0, Status::Ok);
    }
    give(&a, 0, DATA, 0x1000, b.id, VALID);
    assert_eq!(map(&world, &b, ask(&a, 0, 1, 0x7000_0000_0000)).0, Status::Ok);
    let step = H::DomainDestroy { domain: b.id.into() };
    let mut steps = 0;
    while world.call(&world.control, step).0 == Status::Again {
        steps += 1;
    }
    assert!(steps > 40, "{steps}");
    assert!((0..100).all(|grant| uses(&big, grant) == 0) && uses(&a, 0) == 0);
}

#[test]
fn mappings_have_a_limit_and_tables_of_pages_go_back() {
    let Pair { world, a, b } = pair();
    give(&a, 0, DATA, 0x1000, b.id, VALID);
    let set = H::DomainLimit { domain: b.id.into(), limit: limit::MAPPINGS, value: 3 };
    world.ok(&world.control, set);
    let tables = b.memory.stage2.read().table_pages();
    let handles: std::vec::Vec<u32> = (1..4)
        .map(|n| {
            let (status, op) = map(&world, &b, ask(&a, 0, 1, n << 38));
            assert_eq!(status, Status::Ok);
            op.handle
        })
        .collect();
    assert_eq!(map(&world, &b, ask(&a, 0, 1, WINDOW)).0, Status::Limit);
    assert_eq!(uses(&a, 0), 3);
    assert!(b.memory.stage2.read().table_pages() > tables + 6);
    for handle in handles {
        assert_eq!(unmap(&world, &b, handle), Status::Ok);
    }
    // At most the directories of the highest level stay.
    assert!(b.memory.stage2.read().table_pages() <= tables + 2);
}

#[test]
fn queries_tell_each_what_it_may_know() {
    let Pair { world, a, b } = pair();
    let stranger = world.guest(1, 64);
    give(&a, 0, DATA + 5, 0x1234, b.id, VALID | READ_ONLY);
    let (_, _) = map(&world, &b, GrantMap { flags: READ_ONLY.into(), ..ask(&a, 0, 1, WINDOW) });
    let query = |domain, grant| H::GrantQuery { domain, grant, gpa: OPS };
    let of_a = query(a.id.into(), 0);
    world.ok(&b, of_a);
    let info: GrantInfo = read(&b, OPS);
    assert_eq!((info.gpa, info.len, info.uses), (5, 0x1234, 1));
    assert_eq!(info.flags, u32::from(VALID | READ_ONLY));
    world.ok(&a, query(DOM_SELF, 0));
    assert_eq!(read::<GrantInfo>(&a, OPS).gpa, DATA + 5);
    assert_eq!(world.call(&stranger, of_a).0, Status::Denied);
    assert_eq!(world.call(&b, query(a.id.into(), 1)).0, Status::Denied);
    assert_eq!(world.call(&a, query(DOM_SELF, 128)).0, Status::NotFound);
    assert_eq!(world.call(&b, query(DOM_SELF, 0)).0, Status::NotFound, "it has no table");
    let bad = H::GrantQuery { domain: DOM_SELF, grant: 0, gpa: 0x5_0000 };
    assert_eq!(world.call(&a, bad).0, Status::Fault);
}

#[test]
fn a_batch_of_operations_goes_on_after_a_refusal() {
    let Pair { world, a, b } = pair();
    give(&a, 0, DATA, 0x2000, b.id, VALID);
    for n in 0..64u64 {
        let at = if n == 5 { 0 } else { WINDOW + n * 0x2000 };
        write(&b, OPS + n * 40, &ask(&a, 0, 2, at));
    }
    assert_eq!(world.ok(&b, H::GrantMap { gpa: OPS, count: 64 }), 64);
    let handles: std::vec::Vec<u32> =
        (0..64).map(|n| read::<GrantMap>(&b, OPS + n * 40).handle).collect();
    assert_eq!((uses(&a, 0), handles[5]), (63, 0));
    for (n, handle) in (0u64..).zip(&handles) {
        write(&b, OPS + n * 8, &GrantUnmap { handle: *handle, status: 0 });
    }
    assert_eq!(world.ok(&b, H::GrantUnmap { gpa: OPS, count: 64 }), 64);
    assert_eq!(read::<GrantUnmap>(&b, OPS + 5 * 8).status, Status::NotFound as u32);
    assert_eq!(uses(&a, 0), 0);
}

#[test]
fn a_domain_without_a_table_has_no_grants() {
    let world = world();
    let guest = world.guest(1, 16);
    let look = H::GrantQuery { domain: DOM_SELF, grant: 0, gpa: OPS };
    assert_eq!(world.call(&guest, look).0, Status::NotFound);
    assert_eq!(world.call(&guest, revoke(DOM_SELF, 0, 0)).0, Status::NotFound);
}
