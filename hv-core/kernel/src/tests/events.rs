// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events end to end: bits, rings, upcalls, joins.

use crate::domain::Domain;
use crate::testing::{World, world};
use hv_abi::event::{LINKED, MASKED, PENDING, virq};
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use hv_hal::mem;
use std::sync::Arc;

const WORDS: u64 = 0x1_0000;
const RING: u64 = 0x1_1000;
const UPCALL: u64 = 0xf3;

/// Registers words, one ring and the upcall at the same addresses.
fn listen(world: &World, domain: &Arc<Domain>, base: u64) {
    world.ok(domain, H::EventWords { gpa: base + WORDS, log2_ports: 10 });
    let ring = H::EventRing { vcpu: 0, priority: 1, gpa: base + RING, log2_slots: 10 };
    world.ok(domain, ring);
    world.ok(domain, H::EventUpcall { vcpu: 0, vector: UPCALL });
}

fn word(domain: &Domain, port: u64) -> u32 {
    let frame = domain.memory.frame(WORDS).unwrap();
    mem::word(frame, port as usize * 4).load(core::sync::atomic::Ordering::SeqCst)
}

fn set_word(domain: &Domain, port: u64, value: u32) {
    let frame = domain.memory.frame(WORDS).unwrap();
    mem::word(frame, port as usize * 4).store(value, core::sync::atomic::Ordering::SeqCst);
}

fn slot(domain: &Domain, index: usize) -> u32 {
    let frame = domain.memory.frame(RING).unwrap();
    mem::word(frame, index * 4).load(core::sync::atomic::Ordering::SeqCst)
}

fn upcalls(domain: &Domain) -> bool {
    domain.vcpus[0].take_posted().highest() == Some(UPCALL as u8)
}

#[test]
fn an_event_sets_its_bits_and_takes_one_slot() {
    let world = world();
    let guest = world.guest(1, 32);
    listen(&world, &guest, 0);
    let port = world.ok(&guest, H::EventBindIpi { vcpu: 0 });
    world.ok(&guest, H::EventSend { port });
    world.ok(&guest, H::EventSend { port });
    assert_eq!(word(&guest, port), PENDING | LINKED);
    assert_eq!((slot(&guest, 0), slot(&guest, 1)), (port as u32 + 1, 0));
    assert!(upcalls(&guest));
    // Consumed, the next one takes the next slot.
    set_word(&guest, port, 0);
    world.ok(&guest, H::EventSend { port });
    assert_eq!(slot(&guest, 1), port as u32 + 1);
}

#[test]
fn a_masked_port_waits_for_unmask() {
    let world = world();
    let guest = world.guest(1, 32);
    listen(&world, &guest, 0);
    let port = world.ok(&guest, H::EventBindIpi { vcpu: 0 });
    set_word(&guest, port, MASKED);
    world.ok(&guest, H::EventSend { port });
    assert_eq!(word(&guest, port), PENDING | MASKED);
    assert!(!upcalls(&guest));
    world.ok(&guest, H::EventUnmask { port });
    assert!(!upcalls(&guest), "still masked");
    set_word(&guest, port, PENDING);
    world.ok(&guest, H::EventUnmask { port });
    assert!(upcalls(&guest));
    assert_eq!(word(&guest, port), PENDING | LINKED);
}

#[test]
fn two_domains_join_part_and_join_again() {
    let world = world();
    let (a, b) = (world.guest(1, 32), world.guest(1, 32));
    listen(&world, &a, 0);
    listen(&world, &b, 0);
    let (ida, idb) = (u64::from(a.id), u64::from(b.id));
    let pa = world.ok(&a, H::EventAlloc { owner: DOM_SELF, remote: idb });
    let stranger = world.guest(1, 1);
    let bind = H::EventBind { remote: ida, remote_port: pa };
    assert_eq!(world.call(&stranger, bind).0, Status::Denied);
    let pb = world.ok(&b, bind);
    assert_eq!(world.call(&b, bind).0, Status::Busy);
    world.ok(&b, H::EventSend { port: pb });
    assert!(upcalls(&a) && word(&a, pa) & PENDING != 0);
    world.ok(&a, H::EventSend { port: pa });
    assert!(upcalls(&b));
    world.ok(&b, H::EventClose { port: pb });
    assert_eq!(world.call(&b, H::EventSend { port: pb }).0, Status::NotFound);
    // A is unbound again: sending is a bell without a listener, binding works.
    world.ok(&a, H::EventSend { port: pa });
    let pb = world.ok(&b, bind);
    world.destroy(b);
    world.ok(&a, H::EventSend { port: pa });
    assert_eq!(world.call(&a, H::EventBind { remote: idb, remote_port: pb }).0, Status::NotFound);
}

#[test]
fn an_event_before_the_ring_is_not_lost() {
    let world = world();
    let guest = world.guest(1, 32);
    let port = world.ok(&world.control, H::EventAlloc { owner: guest.id.into(), remote: 0 });
    let bind = H::EventBind { remote: guest.id.into(), remote_port: port };
    let mine = world.ok(&world.control, bind);
    world.ok(&world.control, H::EventSend { port: mine });
    listen(&world, &guest, 0);
    assert!(upcalls(&guest));
    assert_eq!(slot(&guest, 0), port as u32 + 1);
}

#[test]
fn wrong_arguments_are_refused_and_change_nothing() {
    let world = world();
    let guest = world.guest(1, 32);
    let words = |gpa, log2_ports| H::EventWords { gpa, log2_ports };
    for (call, status) in [
        (words(1, 10), Status::Invalid),
        (words(WORDS, 9), Status::Invalid),
        (words(WORDS, 15), Status::Invalid),
        (words(0x1000_0000, 10), Status::Fault),
        (words(!0xfff, 10), Status::Fault),
        (H::EventRing { vcpu: 0, priority: 1, gpa: RING, log2_slots: 10 }, Status::State),
        (H::EventUpcall { vcpu: 0, vector: 31 }, Status::Invalid),
        (H::EventUpcall { vcpu: 1, vector: 32 }, Status::NotFound),
        (H::EventSend { port: 0 }, Status::NotFound),
        (H::EventSend { port: u64::MAX }, Status::NotFound),
        (H::EventAlloc { owner: 0, remote: 0 }, Status::Denied),
        (H::EventAlloc { owner: DOM_SELF, remote: 77 }, Status::NotFound),
        (H::EventBindVirq { virq: virq::DOMAIN_STATE, vcpu: 0 }, Status::Denied),
        (H::EventBindVirq { virq: 99, vcpu: 0 }, Status::Invalid),
        (H::EventBindIpi { vcpu: 64 }, Status::NotFound),
        (H::EventTarget { port: 1, vcpu: 0, priority: 2 }, Status::Invalid),
        (H::EventTarget { port: 1, vcpu: 0, priority: 0 }, Status::NotFound),
    ] {
        assert_eq!(world.call(&guest, call).0, status, "{call:?}");
    }
    listen(&world, &guest, 0);
    assert_eq!(world.call(&guest, words(WORDS, 10)).0, Status::State);
    let small = H::EventRing { vcpu: 0, priority: 0, gpa: RING, log2_slots: 9 };
    assert_eq!(world.call(&guest, small).0, Status::Invalid);
}

#[test]
fn ports_have_a_limit_and_come_back() {
    let world = world();
    let guest = world.guest(1, 32);
    let ask = H::EventAlloc { owner: DOM_SELF, remote: 0 };
    for _ in 1..1024 {
        world.ok(&guest, ask);
    }
    assert_eq!(world.call(&guest, ask).0, Status::Limit);
    world.ok(&guest, H::EventClose { port: 500 });
    assert_eq!(world.ok(&guest, ask), 500);
}

#[test]
fn the_control_domain_hears_of_a_stop() {
    let world = world();
    listen(&world, &world.control, 0x1_0000);
    let bind = H::EventBindVirq { virq: virq::DOMAIN_STATE, vcpu: 0 };
    let port = world.ok(&world.control, bind);
    assert_eq!(world.call(&world.control, bind).0, Status::Exists);
    let guest = world.guest(1, 8);
    crate::domain::run::stop(&guest, crate::domain::Stop::default());
    assert!(world.control.vcpus[0].take_posted().highest() == Some(UPCALL as u8));
    world.ok(&world.control, H::EventClose { port });
    world.ok(&world.control, bind);
}

#[test]
fn the_control_domain_hears_of_new_text_in_the_log() {
    let world = world();
    crate::logging::install(log::LevelFilter::Info);
    listen(&world, &world.control, 0x1_0000);
    world.ok(&world.control, H::EventBindVirq { virq: virq::LOG, vcpu: 0 });
    let _ = crate::logging::take_news();
    let cpu = crate::per_cpu::here().unwrap();
    crate::vcpu_loop::once(hv_hal::addr::CpuId(0), cpu);
    assert_eq!(world.control.vcpus[0].take_posted().highest(), None);
    log::info!("text");
    crate::vcpu_loop::once(hv_hal::addr::CpuId(0), cpu);
    assert_eq!(world.control.vcpus[0].take_posted().highest(), Some(UPCALL as u8));
}
