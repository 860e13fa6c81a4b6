// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory given, shown to the control domain, taken back.

use crate::domain::table;
use crate::memory::pool;
use crate::testing::{World, world};
use core::sync::atomic::Ordering;
use hv_abi::memory::ForeignRun;
use hv_abi::{Hypercall as H, Status};
use hv_hal::addr::Frame;
use hv_hal::mem;
use zerocopy::{FromBytes, IntoBytes};

const OUT: u64 = 20 << 12;

fn map(world: &World, domain: u16, gpa: u64, pages: u64) -> (Status, ForeignRun) {
    let call = H::MemoryMap { domain: domain.into(), gpa, pages, out_gpa: OUT };
    let (status, _) = world.call(&world.control, call);
    let mut bytes = [0u8; 16];
    mem::read(Frame::holding(OUT), 0, &mut bytes);
    (status, ForeignRun::read_from_bytes(&bytes).unwrap())
}

#[test]
fn large_pieces_are_used_and_the_limit_holds() {
    let world = world();
    let guest = world.guest(1, 512);
    let leaf = guest.memory.stage2.read().lookup(0x5000).unwrap();
    assert_eq!(leaf.order, hv_hal::addr::Order::P2M);
    let more = |gpa, pages| H::MemoryPopulate { domain: guest.id.into(), gpa, pages };
    assert_eq!(world.call(&world.control, more(0, 1)).0, Status::Exists);
    assert_eq!(world.call(&world.control, more(1, 1)).0, Status::Invalid);
    assert_eq!(world.call(&world.control, more(0x40_0000, 0)).0, Status::Invalid);
    assert_eq!(world.call(&world.control, more(!0xfff, 2)).0, Status::Invalid);
    world.ok(&world.control, more(0x40_0000, 512));
    assert_eq!(world.call(&world.control, more(0x60_0000, 1)).0, Status::Limit);
}

#[test]
fn foreign_pages_show_at_their_machine_address() {
    let world = world();
    let guest = world.guest(1, 512);
    let (status, run) = map(&world, guest.id, 0, 512);
    assert_eq!((status, run.pages), (Status::Ok, 512));
    let seen = world.control.memory.frame(run.machine + 0x3000).unwrap();
    assert_eq!(seen, guest.memory.frame(0x3000).unwrap());
    // Mapped twice, it stays until both are gone.
    let (status, part) = map(&world, guest.id, 0x3000, 1);
    assert_eq!((status, part.machine), (Status::Ok, run.machine + 0x3000));
    let unmap = |machine, pages| H::MemoryUnmap { machine, pages };
    world.ok(&world.control, unmap(run.machine, 512));
    assert!(world.control.memory.frame(run.machine + 0x3000).is_some());
    assert!(world.control.memory.frame(run.machine + 0x4000).is_none());
    let again = world.call(&world.control, unmap(run.machine, 512));
    assert_eq!(again.0, Status::NotFound);
    world.ok(&world.control, unmap(part.machine, 1));
    assert!(world.control.memory.frame(part.machine).is_none());
    assert_eq!(world.call(&world.control, unmap(16 << 12, 1)).0, Status::Invalid);
}

#[test]
fn a_mapped_page_outlives_its_domain_until_it_is_unmapped() {
    let world = world();
    let guest = world.guest(1, 8);
    let id = guest.id;
    let free = pool::stats().1;
    let (_, run) = map(&world, id, 0x2000, 1);
    world.destroy(guest);
    assert!(table::get(id).is_some(), "kept by its page");
    assert_eq!(map(&world, id, 0, 1).0, Status::Dying);
    world.ok(&world.control, H::MemoryUnmap { machine: run.machine, pages: 1 });
    assert!(table::get(id).is_none());
    assert!(pool::stats().1 > free);
}

#[test]
fn released_pages_are_zero_when_they_come_back() {
    let world = world();
    let guest = world.guest(1, 16);
    let frame = guest.memory.frame(0x4000).unwrap();
    mem::write(frame, 100, b"secret");
    assert_eq!(world.ok(&guest, H::MemoryRelease { gpa: 0x4000, pages: 2 }), 2);
    assert!(guest.memory.frame(0x4000).is_none());
    let mut bytes = [1u8; 6];
    mem::read(frame, 100, &mut bytes);
    assert_eq!(bytes, [0; 6]);
    assert_eq!(world.call(&guest, H::MemoryRelease { gpa: 0x4000, pages: 1 }).0, Status::NotFound);
    let (_, run) = map(&world, guest.id, 0x1000, 1);
    assert_eq!(world.call(&guest, H::MemoryRelease { gpa: 0x1000, pages: 1 }).0, Status::Busy);
    world.ok(&world.control, H::MemoryUnmap { machine: run.machine, pages: 1 });
    let pages = guest.memory.pages.load(Ordering::Relaxed);
    assert_eq!(pages, 14);
}

#[test]
fn structures_must_lie_in_the_callers_own_memory() {
    let world = world();
    let guest = world.guest(1, 4);
    let info = |gpa| H::DomainInfo { at_or_after: 0, gpa };
    world.ok(&guest, info(0x1ff0));
    assert_eq!(world.call(&guest, info(0x3ff0)).0, Status::Fault);
    assert_eq!(world.call(&guest, info(u64::MAX - 8)).0, Status::Fault);
    // A foreign page is not the control domain's own.
    let (_, run) = map(&world, guest.id, 0, 1);
    assert_eq!(world.call(&world.control, info(run.machine)).0, Status::Fault);
    world.ok(&world.control, H::MemoryUnmap { machine: run.machine, pages: 1 });
    let text = H::ConsoleWrite { gpa: 0xffc, len: 8 };
    mem::write(guest.memory.frame(0).unwrap(), 0xffc, b"over");
    assert_eq!(world.ok(&guest, text), 8);
    assert_eq!(ForeignRun::default().as_bytes().len(), 16);
}
