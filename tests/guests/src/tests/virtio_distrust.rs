// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver does not believe its device: a head that is not out, one beyond
//! the queue, and more answers than requests are found.

use hv_guest::mail::MAIL;
use hv_guest::{Outcome, Verdict, check, event, ok};
use hv_io::device_id;

use super::virtio_block::{open, page};
use crate::backend::{self, Backend};
use crate::child::Child;

fn child() -> Outcome {
    ok!(event::setup());
    let mut disk = open()?;
    let mut bytes = [0; 512];
    match disk.read(0, &mut bytes) {
        Err(Verdict::Failure(text)) => {
            let wanted = if MAIL.to(0) == 2 { "Index" } else { "Head" };
            check!(text.as_str().contains(wanted), "{text}");
            Ok(())
        }
        other => Err(hv_guest::failure!("the driver believed it: {other:?}")),
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    for kind in 0..3 {
        let child = Child::new(child)?;
        child.mail()?.tell(0, kind);
        let capacity = 8u64.to_le_bytes();
        let mut device = Backend::new(&child, page(), device_id::BLOCK, 0, &capacity)?;
        child.start()?;
        backend::serve(&[&child], || {
            device.look(&mut |backend, queue, _| match kind {
                0 => backend.forge(queue, 77, 1),
                1 => backend.forge(queue, 0x1_0000, 1),
                _ => {
                    backend.skip(queue, 1);
                    backend.forge(queue, 0, 1)
                }
            })
        })?;
        child.finish()?;
        device.close()?;
        child.destroy()?;
    }
    Ok(())
}
