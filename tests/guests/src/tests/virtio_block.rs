// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest drives a virtio disk over a device page, ports and its own memory:
//! handshake, single requests, full queues, errors; event indices save kicks.

use hv_guest::hypercall::gpa;
use hv_guest::mail::MAIL;
use hv_guest::virtio::block::{Block, Shared};
use hv_guest::{Outcome, check, check_eq, event, ok};
use hv_io::blk::{request, status};
use hv_io::{device_id, feature};

use crate::backend::{self, Backend, Disk, Kept};
use crate::child::Child;

const SECTORS: u64 = 128;
const DEPTH: usize = 30;

static PAGE: Kept<Page> = Kept::new(Page([0; 4096]));

#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// Where every child has its device page.
pub fn page() -> u64 {
    gpa(&PAGE)
}

static SHARED: Shared = Shared::new();

/// Opens the child's disk; events are set up already.
pub fn open() -> Outcome<Block> {
    // SAFETY: the page is the device's and nothing else; one `Block` at a time.
    unsafe { Block::open(page(), &SHARED) }
}

fn pattern(sector: u64, round: u8) -> [u8; 512] {
    core::array::from_fn(|i| (i as u8) ^ (sector as u8).wrapping_mul(7) ^ round)
}

fn child() -> Outcome {
    ok!(event::setup());
    let mut disk = open()?;
    check_eq!(disk.sectors, SECTORS);
    for sector in 0..SECTORS {
        check_eq!(disk.write(sector, &pattern(sector, 1))?, status::OK);
    }
    let mut sector_bytes = [0; 512];
    for sector in (0..SECTORS).rev() {
        check_eq!(disk.read(sector, &mut sector_bytes)?, status::OK);
        check!(sector_bytes == pattern(sector, 1), "sector {sector} has other bytes");
    }
    check_eq!(disk.flush()?, status::OK);
    check_eq!(disk.read(SECTORS, &mut sector_bytes)?, status::IOERR);
    let (id, answer) = disk.id()?;
    check_eq!(answer, status::OK);
    check!(id.starts_with(b"micro-guest\0"));

    // Many at once: one kick, answers in any order.
    let mut buffers = [[0u8; 512]; DEPTH];
    let (mut kicks, mut requests) = (0u64, 0u64);
    for _ in 0..20 {
        let mut slots = [usize::MAX; DEPTH];
        for (i, buffer) in buffers.iter_mut().enumerate() {
            let data = buffer.as_mut_ptr().expose_provenance() as u64;
            // SAFETY: the buffer is not touched until the request is done.
            let slot = unsafe { disk.submit(request::IN, i as u64 * 3, data, 512) };
            slots[i] = slot.unwrap_or(usize::MAX);
            check!(slot.is_some(), "request {i} found no place");
        }
        kicks += u64::from(disk.kick()?);
        for _ in 0..DEPTH {
            let done = disk.wait()?;
            check_eq!((done.status, done.len), (status::OK, 513));
            let found = slots.iter_mut().find(|slot| **slot == done.slot);
            check!(found.is_some(), "slot {} was answered twice", done.slot);
            found.into_iter().for_each(|slot| *slot = usize::MAX);
            requests += 1;
        }
        for (i, buffer) in buffers.iter().enumerate() {
            check!(*buffer == pattern(i as u64 * 3, 1), "buffer {i} has other bytes");
        }
    }
    check!(kicks * 10 <= requests, "{kicks} kicks for {requests} requests");
    MAIL.answer(0, requests);
    Ok(())
}

static BYTES: Kept<[u8; SECTORS as usize * 512]> = Kept::new([0; SECTORS as usize * 512]);

/// The runner's part.
pub fn run() -> Outcome {
    // SAFETY: the only place where it is lent.
    unsafe { BYTES.with(|bytes| serve(bytes)) }
}

fn serve(bytes: &mut [u8]) -> Outcome {
    for features in [0, feature::RING_EVENT_IDX] {
        let child = Child::new(child)?;
        let capacity = SECTORS.to_le_bytes();
        let mut device = Backend::new(&child, page(), device_id::BLOCK, features, &capacity)?;
        child.start()?;
        let mut disk = Disk(&mut *bytes);
        backend::serve(&[&child], || {
            device.look(&mut |backend, queue, chain| disk.handle(backend, queue, chain))
        })?;
        child.finish()?;
        check_eq!(device.done, 2 * SECTORS + 3 + child.mail()?.from(0));
        device.close()?;
        child.destroy()?;
    }
    Ok(())
}
