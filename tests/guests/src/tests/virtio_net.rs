// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two guests with virtio interfaces; the runner passes frames between them.
//! One sends frames of every size, the other sends each back: none is lost,
//! changed or doubled.

use hv_guest::mail::MAIL;
use hv_guest::virtio::net::{BUFFER, HEADER, Net, Shared};
use hv_guest::{Outcome, check, check_eq, event, ok};
use hv_io::{device_id, feature, net};

use super::virtio_block::page;
use crate::backend::{self, Backend, Chain, Kept};
use crate::child::Child;

const FRAMES: u64 = 400;
/// Frames that wait for the other guest's buffers, in the runner.
const WAITING: usize = 64;

static SHARED: Shared = Shared::new();

fn open() -> Outcome<Net> {
    ok!(event::setup());
    // SAFETY: the page is the device's and nothing else; one `Net` at a time.
    unsafe { Net::open(page(), &SHARED) }
}

fn frame(number: u64, into: &mut [u8; BUFFER]) -> usize {
    let len = 60 + (number as usize * 37) % (1514 - 60);
    for (i, byte) in into[..len].iter_mut().enumerate() {
        *byte = (i as u8) ^ (number as u8);
    }
    into[..8].copy_from_slice(&number.to_le_bytes());
    len
}

fn sender() -> Outcome {
    let mut net = open()?;
    check_eq!(net.mac, [2, 0, 0, 0, 0, 1]);
    let (mut out, mut back, mut wanted) = ([0; BUFFER], [0; BUFFER], [0; BUFFER]);
    let mut sent = 0;
    for number in 0..FRAMES {
        // A window, so that both directions are busy at once.
        while sent < FRAMES && sent < number + 16 {
            let len = frame(sent, &mut out);
            net.send(&out[..len])?;
            sent += 1;
        }
        let len = net.receive(&mut back)?;
        check_eq!(len, frame(number, &mut wanted), "length of frame {number}");
        check!(back[..len] == wanted[..len], "frame {number} has other bytes");
    }
    Ok(())
}

fn echo() -> Outcome {
    let mut net = open()?;
    MAIL.answer(0, 1);
    let mut frame = [0; BUFFER];
    for _ in 0..FRAMES {
        let len = net.receive(&mut frame)?;
        net.send(&frame[..len])?;
    }
    while net.unsent()? > 0 {
        core::hint::spin_loop();
    }
    Ok(())
}

/// A frame on its way, header included.
#[derive(Clone, Copy)]
struct Packet {
    bytes: [u8; BUFFER],
    len: usize,
}

/// Frames for one guest, in order.
struct Wire {
    packets: [Packet; WAITING],
    first: usize,
    count: usize,
}

impl Wire {
    const fn new() -> Self {
        Self { packets: [Packet { bytes: [0; BUFFER], len: 0 }; WAITING], first: 0, count: 0 }
    }

    fn push(&mut self, chain: &Chain) -> Outcome {
        check!(self.count < WAITING, "more frames wait than the window allows");
        let packet = &mut self.packets[(self.first + self.count) % WAITING];
        let [part] = chain.parts() else { return Err(hv_guest::failure!("a frame in pieces")) };
        check!(part.len >= HEADER && part.len <= BUFFER && !part.write);
        part.read(&mut packet.bytes[..part.len]);
        packet.len = part.len;
        self.count += 1;
        Ok(())
    }

    fn deliver(&mut self, to: &mut Backend<'_>) -> Outcome {
        while self.count > 0 {
            let Some(chain) = to.next(0)? else { break };
            let packet = &mut self.packets[self.first % WAITING];
            let [part] = chain.parts() else { return Err(hv_guest::failure!("no buffer")) };
            check!(part.write && part.len >= packet.len);
            // One buffer holds it (5.1.6.4).
            packet.bytes[10..12].copy_from_slice(&1u16.to_le_bytes());
            part.write(&packet.bytes[..packet.len]);
            let len = packet.len as u32;
            to.finish(0, chain, len)?;
            self.first += 1;
            self.count -= 1;
        }
        Ok(())
    }
}

/// Takes what `from` sent and delivers it to `to`.
fn pass(from: &mut Backend<'_>, to: &mut Backend<'_>, wire: &mut Wire) -> Outcome {
    from.look_at(1, &mut |backend, chain| {
        wire.push(&chain)?;
        backend.finish(1, chain, 0)
    })?;
    wire.deliver(to)
}

static WIRES: Kept<[Wire; 2]> = Kept::new([const { Wire::new() }; 2]);

/// The runner's part.
pub fn run() -> Outcome {
    // SAFETY: the only place where it is lent.
    unsafe { WIRES.with(switch) }
}

fn switch(wires: &mut [Wire; 2]) -> Outcome {
    let (a, b) = (Child::new(sender)?, Child::new(echo)?);
    let features = feature::RING_EVENT_IDX | net::feature::MAC;
    let at = page();
    let mut first = Backend::new(&a, at, device_id::NET, features, &[2, 0, 0, 0, 0, 1])?;
    let mut second = Backend::new(&b, at, device_id::NET, features, &[2, 0, 0, 0, 0, 2])?;
    b.start()?;
    a.start()?;
    let [there, back] = wires;
    backend::serve(&[&a, &b], || {
        first.handshake()?;
        second.handshake()?;
        pass(&mut first, &mut second, there)?;
        pass(&mut second, &mut first, back)
    })?;
    a.finish()?;
    b.finish()?;
    check_eq!((first.done, second.done), (2 * FRAMES, 2 * FRAMES));
    first.close()?;
    second.close()?;
    a.destroy()?;
    b.destroy()
}
