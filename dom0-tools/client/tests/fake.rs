// SPDX-License-Identifier: MIT OR Apache-2.0
//! The doors over the fake core: mappings, ports and counters behave as the
//! interface promises.
#![cfg(feature = "fake")]

use hv_abi::console::offset;
use hv_abi::domain::{DomainConfig, reason, state};
use hv_abi::event::{kind, virq};
use hv_abi::{PAGE_SIZE, Status};
use hv_client::fake::FakeCore;
use hv_client::{Calls, Core, EventPort};
use hv_ring::console::ConsoleEnd;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn config(pages: u64) -> DomainConfig {
    DomainConfig {
        domain: 0,
        vcpus: 1,
        max_pages: pages,
        start_info: 0,
        max_ports: 0,
        weight: 0,
        cap: 0,
        flags: 0,
        uuid: [7; 16],
        name: [b'x'; 64],
    }
}

fn destroy(core: &FakeCore, id: u16) {
    while !core.domain_destroy_step(id).unwrap() {}
}

#[test]
fn memory_is_shared_counted_and_given_back() {
    let core = FakeCore::new(64 * MIB);
    let before = core.counters();
    let id = core.domain_create(&config(4096)).unwrap();
    assert_eq!(core.memory_populate(id, 0, 4096, &mut || true).unwrap(), 4096);

    let map = core.map(id, 0x3000, 3 * 4096).unwrap();
    let text: Vec<u8> = (0..=255).collect();
    for offset in 0..17 {
        map.write(offset, &text).unwrap();
        let mut back = vec![0; text.len()];
        map.read(offset, &mut back).unwrap();
        assert_eq!(back, text, "offset {offset}");
        assert_eq!(core.guest_read(id, 0x3000 + offset as u64, 256).unwrap(), text);
    }
    assert_eq!(
        map.write(3 * 4096 - 1, b"ab").unwrap_err().to_string(),
        "2 bytes at offset 0x2fff are outside a mapping of 12288 bytes"
    );
    assert!(map.read(usize::MAX, &mut [0; 2]).is_err());
    assert!(core.map(id, 16 * MIB - PAGE_SIZE, 8192).is_err());
    assert_eq!(core.counters().foreign_pages, 3);

    // Frames that are mapped come back with the mapping.
    destroy(&core, id);
    assert_ne!(core.counters().free_pages, before.free_pages);
    drop(map);
    assert_eq!(core.counters(), before);
}

#[test]
fn refusals_name_call_domain_and_status() {
    let core = FakeCore::new(MIB);
    let e = core.domain_pause(9).unwrap_err();
    assert_eq!(
        e.to_string(),
        "domain_pause for domain 9 was refused: no such domain, vCPU, port or range"
    );
    assert_eq!(e.status(), Some(Status::NotFound));
    let id = core.domain_create(&config(4096)).unwrap();
    let e = core.memory_populate(id, 0, 4096, &mut || true).unwrap_err();
    assert_eq!(e.status(), Some(Status::NoMemory));
    core.fail_at(0);
    assert!(core.domain_unpause(id).is_err());
    assert!(core.domain_unpause(id).is_ok());
}

#[test]
fn console_bytes_and_events_go_both_ways() {
    let core = FakeCore::new(64 * MIB);
    let before = core.counters();
    let id = core.domain_create(&config(16)).unwrap();
    core.memory_populate(id, 0, 16, &mut || true).unwrap();
    let guest_port = core.event_alloc(id).unwrap();
    let port = EventPort::bind(&core, id, guest_port).unwrap();
    assert_eq!(core.event_status(id, guest_port).unwrap().kind, kind::JOINED);
    let page = core.map(id, 0, 4096).unwrap();
    let mut ours = ConsoleEnd::backend(&page);
    let mut guest = core.guest_console(id, 0, guest_port).unwrap();

    assert!(!port.take());
    assert_eq!(guest.write(b"login: "), 7);
    assert!(port.take() && !port.take());
    let mut into = [0; 64];
    assert_eq!(ours.receive(&page, &mut into).unwrap(), 7);
    assert_eq!(&into[..7], b"login: ");
    assert_eq!(ours.send(&page, b"root\n").unwrap(), 5);
    port.send().unwrap();
    assert_eq!(guest.read(), b"root\n");

    // A guest that forges its index is found out, and forgiven on request.
    use hv_ring::RingMemory;
    guest.page().store_index(offset::OUT_PRODUCED, 0x9999_9999);
    assert!(ours.receive(&page, &mut into).is_err());
    ours.resync(&page);
    assert_eq!(ours.receive(&page, &mut into), Ok(0));

    // Another reader may bind after us.
    drop(port);
    assert_eq!(core.event_status(id, guest_port).unwrap().kind, kind::UNBOUND);
    drop(EventPort::bind(&core, id, guest_port).unwrap());
    drop(page);
    destroy(&core, id);
    assert_eq!(core.counters(), before);
}

#[test]
fn a_stopped_domain_raises_the_virtual_interrupt() {
    let core = FakeCore::new(64 * MIB);
    let port = EventPort::virq(&core, virq::DOMAIN_STATE).unwrap();
    let id = core.domain_create(&config(16)).unwrap();
    core.domain_unpause(id).unwrap();
    core.guest_stop(id, reason::CRASH, 5);
    assert!(port.take());
    let info = core.domain_info(id).unwrap().unwrap();
    assert_eq!((info.reason, info.code), (reason::CRASH, 5));
    assert_ne!(info.state & state::SHUTDOWN, 0);
    assert_eq!(core.domains().unwrap().len(), 2);
}

/// Copying a kernel in must not be felt: 64 MiB well below a second even on a
/// slow machine without optimisation.
#[test]
fn copies_are_quick_enough() {
    let core = FakeCore::new(256 * MIB);
    let id = core.domain_create(&config(16384)).unwrap();
    core.memory_populate(id, 0, 16384, &mut || true).unwrap();
    let map = core.map(id, 0, 64 << 20).unwrap();
    let image = vec![0x5a; 64 << 20];
    let start = Instant::now();
    map.write(0, &image).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
}
