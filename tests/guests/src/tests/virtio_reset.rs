// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest resets its disk while requests are out, several times: after the
//! reset the device touches nothing, and after a new handshake it works.

use hv_guest::{Outcome, check, check_eq, event, ok};
use hv_io::blk::{request, status};
use hv_io::{device_id, feature};

use super::virtio_block::{open, page};
use crate::backend::{self, Backend, Disk, Kept};
use crate::child::Child;

const SECTORS: u64 = 64;

fn child() -> Outcome {
    ok!(event::setup());
    let mut buffers = [[0x5au8; 512]; 16];
    for round in 0..8u8 {
        let mut disk = open()?;
        for (i, buffer) in buffers.iter_mut().enumerate() {
            let data = buffer.as_mut_ptr().expose_provenance() as u64;
            // SAFETY: the buffers outlive the reset below, which ends requests.
            let slot = unsafe { disk.submit(request::IN, i as u64, data, 512) };
            check!(slot.is_some());
        }
        disk.kick()?;
        check_eq!(disk.device.set_status(0)?, 0);
        buffers = [[round; 512]; 16];
        for _ in 0..2000 {
            core::hint::spin_loop();
        }
        check!(buffers == [[round; 512]; 16], "the device wrote after a reset");
    }
    let mut disk = open()?;
    check_eq!(disk.write(3, &buffers[0])?, status::OK);
    check_eq!(disk.read(3, &mut buffers[1])?, status::OK);
    check!(buffers[0] == buffers[1]);
    Ok(())
}

static BYTES: Kept<[u8; SECTORS as usize * 512]> = Kept::new([0; SECTORS as usize * 512]);

/// The runner's part.
pub fn run() -> Outcome {
    // SAFETY: the only place where it is lent.
    unsafe { BYTES.with(|bytes| serve(bytes)) }
}

fn serve(bytes: &mut [u8]) -> Outcome {
    let child = Child::new(child)?;
    let features = feature::RING_EVENT_IDX;
    let capacity = SECTORS.to_le_bytes();
    let mut device = Backend::new(&child, page(), device_id::BLOCK, features, &capacity)?;
    child.start()?;
    let mut disk = Disk(&mut *bytes);
    backend::serve(&[&child], || {
        device.look(&mut |backend, queue, chain| disk.handle(backend, queue, chain))
    })?;
    child.finish()?;
    device.close()?;
    child.destroy()
}
