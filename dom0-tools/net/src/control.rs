// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control queue (virtio 1.2, 5.1.6.5): how many pairs the guest uses. The
//! number outlives a killed backend in a small mapped file.

use crate::card::{Mailbox, Order};
use hv_backend::{Error, Ring};
use hv_client::SharedFile;
use hv_io::Fault;
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;
use std::path::Path;

/// `VIRTIO_NET_CTRL_MQ` and its command `VQ_PAIRS_SET` (5.1.6.5.5).
const PAIRS_SET: [u8; 2] = [4, 0];
/// Acknowledgements.
const OK: u8 = 0;
const ERROR: u8 = 1;

/// Bytes of the file.
const LEN: usize = 4096;

/// The number of pairs that the guest uses.
#[derive(Debug)]
pub struct Active(SharedFile);

impl Active {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let no = |e: rustix::io::Errno| Error::system(format!("open {}", path.display()), e);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(no)?;
        rustix::fs::ftruncate(&file, LEN as u64).map_err(no)?;
        Ok(Self(SharedFile::new(file.as_fd(), LEN)?))
    }

    /// At least one.
    pub fn get(&self) -> usize {
        (self.0.get(0) as usize).max(1)
    }

    /// Sets it.
    pub fn set(&self, pairs: usize) {
        self.0.set(0, pairs as u32);
    }
}

/// What a command asks for: a number of pairs from 1 to `most`, or nothing
/// that is known here.
fn parse(command: [u8; 4], most: usize) -> Option<usize> {
    let [class, code, low, high] = command;
    let pairs = usize::from(u16::from_le_bytes([low, high]));
    ([class, code] == PAIRS_SET && (1..=most).contains(&pairs)).then_some(pairs)
}

/// Does what the guest has asked for.
pub fn run(ring: &mut Ring, mailboxes: &[Mailbox], active: &Active) -> Result<(), Fault> {
    loop {
        while let Some(chain) = ring.pop()? {
            if chain.writable.is_empty() {
                return Err(Fault::Buffers);
            }
            let mut command = [0; 4];
            // A shorter command is none that is known.
            let read = ring.copy_out(&chain.readable, 0, &mut command);
            let asked = read.ok().and_then(|()| parse(command, mailboxes.len()));
            if let Some(pairs) = asked {
                active.set(pairs);
                for (index, mailbox) in mailboxes.iter().enumerate() {
                    mailbox.put(Order::Active(index < pairs));
                }
            }
            let answer = if asked.is_some() { OK } else { ERROR };
            ring.copy_in(&chain.writable, 0, &[answer])?;
            ring.finish(chain.head, 1)?;
        }
        ring.notify()?;
        if !ring.listen()? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_that_are_there() {
        assert_eq!(parse([4, 0, 1, 0], 4), Some(1));
        assert_eq!(parse([4, 0, 4, 0], 4), Some(4));
        for bad in [[4, 0, 0, 0], [4, 0, 5, 0], [4, 0, 1, 1], [4, 1, 1, 0], [0, 0, 1, 0]] {
            assert_eq!(parse(bad, 4), None, "{bad:?}");
        }
    }

    #[test]
    fn the_number_outlives_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("active");
        let first = Active::open(&path).unwrap();
        assert_eq!(first.get(), 1);
        first.set(3);
        drop(first);
        assert_eq!(Active::open(&path).unwrap().get(), 3);
    }
}
