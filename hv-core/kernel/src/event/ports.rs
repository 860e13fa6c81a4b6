// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports and their joins. Every port has a lock of its own and no code holds
//! two: a join is made from one side, then checked and completed from the
//! other, and undone if the other refuses.

use super::ring::Words;
use crate::domain::{Domain, table};
use crate::sched;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hv_abi::event::{
    EventStatus, LINKED, MASKED, PENDING, PRIORITIES, PRIORITY_NORMAL, kind, virq,
};
use hv_abi::{DomainId, Status};
use spin::{Mutex, Once};

/// What a port is joined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Free.
    Free,
    /// Waits for this domain to bind.
    Unbound(DomainId),
    /// Joined with this port of this domain.
    Joined(DomainId, u32),
    /// Raised for this virtual interrupt.
    Virq(u32),
    /// Raised by its own domain.
    Ipi,
}

/// One port.
#[derive(Clone, Copy)]
struct Port {
    join: Join,
    vcpu: u32,
    priority: u8,
    /// Raised before the port words were registered.
    early: bool,
}

const FREE: Port =
    Port { join: Join::Free, vcpu: 0, priority: PRIORITY_NORMAL as u8, early: false };

/// All ports of a domain.
pub struct Ports {
    ports: Box<[Mutex<Port>]>,
    /// The shared port words, once registered.
    pub words: Once<Words>,
    /// Registrations take turns.
    pub setup: Mutex<()>,
    /// Ports that are not free.
    pub used: AtomicU32,
    /// Events that arrived.
    pub delivered: AtomicU64,
    /// Port of each virtual interrupt, 0 for none.
    pub(super) virqs: [AtomicU32; virq::COUNT],
    /// Where the search for a free port begins, and how far closing all is.
    cursor: AtomicU32,
    forgotten: AtomicBool,
}

/// Ports that one step of closing all handles.
const CLOSE_STEP: u32 = 256;

impl Ports {
    /// Heap a port takes.
    pub const BYTES_A_PORT: usize = size_of::<Mutex<Port>>();

    /// `count` free ports; port 0 is never used.
    pub fn new(count: u32) -> Self {
        Self {
            ports: (0..count).map(|_| Mutex::new(FREE)).collect(),
            words: Once::new(),
            setup: Mutex::new(()),
            used: AtomicU32::new(0),
            delivered: AtomicU64::new(0),
            virqs: [const { AtomicU32::new(0) }; virq::COUNT],
            cursor: AtomicU32::new(1),
            forgotten: AtomicBool::new(false),
        }
    }

    fn get(&self, port: u32) -> Option<&Mutex<Port>> {
        self.ports.get(port as usize)
    }

    /// A port the caller named in a register.
    fn named(&self, port: u64) -> Result<(u32, &Mutex<Port>), Status> {
        let port = u32::try_from(port).map_err(|_| Status::NotFound)?;
        Ok((port, self.get(port).ok_or(Status::NotFound)?))
    }

    /// True from the second call on.
    pub fn forget_once(&self) -> bool {
        self.forgotten.swap(true, Ordering::SeqCst)
    }

    /// Takes a free port for `join`.
    pub(super) fn take(&self, join: Join, vcpu: u32) -> Result<u32, Status> {
        let count = self.ports.len() as u32;
        let start = self.cursor.load(Ordering::Relaxed);
        for i in 0..count {
            let number = (start + i) % count;
            let Some(port) = self.get(number).filter(|_| number != 0) else {
                continue;
            };
            let mut port = port.lock();
            if port.join != Join::Free {
                continue;
            }
            *port = Port { join, vcpu, ..FREE };
            if let Some(word) = self.words.get().and_then(|w| w.get(number as usize)) {
                word.fetch_and(!(PENDING | MASKED), Ordering::SeqCst);
            }
            self.used.fetch_add(1, Ordering::Relaxed);
            self.cursor.store(number + 1, Ordering::Relaxed);
            return Ok(number);
        }
        Err(Status::Limit)
    }

    pub(super) fn free(&self, number: u32) {
        if let Some(port) = self.get(number) {
            *port.lock() = FREE;
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

pub(super) fn vcpu_number(domain: &Domain, vcpu: u64) -> Result<u32, Status> {
    u32::try_from(vcpu).ok().filter(|v| (*v as usize) < domain.vcpus.len()).ok_or(Status::NotFound)
}

/// A port of `domain` that `remote` may bind to.
pub fn allocate(domain: &Domain, remote: DomainId) -> Result<u32, Status> {
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    domain.ports.take(Join::Unbound(remote), 0)
}

/// Joins a new port of the caller with an unbound one of `remote`.
pub fn bind(caller: &Domain, remote: &Domain, remote_port: u64) -> Result<u32, Status> {
    if remote.is_dying() {
        return Err(Status::Dying);
    }
    let (remote_number, other) = remote.ports.named(remote_port)?;
    let number = caller.ports.take(Join::Joined(remote.id, remote_number), 0)?;
    let mut other = other.lock();
    if other.join == Join::Unbound(caller.id) {
        other.join = Join::Joined(caller.id, number);
        return Ok(number);
    }
    let status = match other.join {
        Join::Free => Status::NotFound,
        Join::Joined(..) => Status::Busy,
        _ => Status::Denied,
    };
    drop(other);
    caller.ports.free(number);
    Err(status)
}

/// A port that raises itself on a vCPU.
pub fn bind_ipi(domain: &Domain, vcpu: u64) -> Result<u32, Status> {
    let vcpu = vcpu_number(domain, vcpu)?;
    domain.ports.take(Join::Ipi, vcpu)
}

/// EventSend.
pub fn send(domain: &Arc<Domain>, port: u64) -> Result<(), Status> {
    let (number, port) = domain.ports.named(port)?;
    let join = port.lock().join;
    match join {
        Join::Free => Err(Status::NotFound),
        // Nobody listens yet: as a doorbell without a bell.
        Join::Unbound(_) => Ok(()),
        Join::Virq(_) => Err(Status::Invalid),
        Join::Ipi => {
            raise(domain, number, Join::Ipi);
            Ok(())
        }
        Join::Joined(remote, remote_port) => {
            let me = Join::Joined(domain.id, number);
            if remote == domain.id {
                raise(domain, remote_port, me);
            } else if let Some(remote) = table::get(remote) {
                raise(&remote, remote_port, me);
            }
            Ok(())
        }
    }
}

/// Raises a port if it is still joined as the sender believes.
pub(super) fn raise(domain: &Arc<Domain>, number: u32, expected: Join) {
    let Some(port) = domain.ports.get(number) else {
        return;
    };
    let target = {
        let mut port = port.lock();
        if port.join != expected {
            return;
        }
        if domain.ports.words.get().is_none() {
            port.early = true;
            return;
        }
        *port
    };
    let Some(word) = domain.ports.words.get().and_then(|w| w.get(number as usize)) else {
        return;
    };
    if word.fetch_or(PENDING, Ordering::SeqCst) & (PENDING | MASKED) == 0 {
        link(domain, number, &target);
    }
}

/// Puts a pending port into its ring, if it is in none, and tells the vCPU.
fn link(domain: &Arc<Domain>, number: u32, target: &Port) {
    let Some(word) = domain.ports.words.get().and_then(|w| w.get(number as usize)) else {
        return;
    };
    let Some(vcpu) = domain.vcpus.get(target.vcpu as usize) else {
        return;
    };
    let ring = vcpu.rings.get(usize::from(target.priority)).and_then(|r| r.get());
    let upcall = vcpu.upcall.load(Ordering::Relaxed);
    let Some(ring) = ring.filter(|_| upcall != 0) else {
        // Stays pending; `catch_up` links it when ring and vector are there.
        return;
    };
    if word.fetch_or(LINKED, Ordering::SeqCst) & LINKED == 0 {
        ring.append(number);
        domain.ports.delivered.fetch_add(1, Ordering::Relaxed);
        vcpu.post(upcall);
        sched::notify(domain, target.vcpu as usize);
    }
}

/// Links every port that turned pending before words, ring and vector were
/// all there.
pub fn catch_up(domain: &Arc<Domain>) {
    for number in 1..domain.ports.ports.len() as u32 {
        let Some(port) = domain.ports.get(number) else {
            return;
        };
        let (target, early) = {
            let mut port = port.lock();
            let early = core::mem::replace(&mut port.early, false);
            (*port, early)
        };
        if target.join == Join::Free {
            continue;
        }
        let Some(word) = domain.ports.words.get().and_then(|w| w.get(number as usize)) else {
            return;
        };
        if early {
            word.fetch_or(PENDING, Ordering::SeqCst);
        }
        if word.load(Ordering::SeqCst) & (PENDING | MASKED) == PENDING {
            link(domain, number, &target);
        }
    }
}

/// EventUnmask.
pub fn unmask(domain: &Arc<Domain>, port: u64) -> Result<(), Status> {
    let (number, port) = domain.ports.named(port)?;
    let target = *port.lock();
    if target.join == Join::Free {
        return Err(Status::NotFound);
    }
    let words = domain.ports.words.get().ok_or(Status::State)?;
    let word = words.get(number as usize).ok_or(Status::NotFound)?;
    if word.load(Ordering::SeqCst) & (PENDING | MASKED) == PENDING {
        link(domain, number, &target);
    }
    Ok(())
}

/// EventTarget.
pub fn target(domain: &Domain, port: u64, vcpu: u64, priority: u64) -> Result<(), Status> {
    let (_, port) = domain.ports.named(port)?;
    let vcpu = vcpu_number(domain, vcpu)?;
    let priority = u8::try_from(priority)
        .ok()
        .filter(|p| usize::from(*p) < PRIORITIES)
        .ok_or(Status::Invalid)?;
    let mut port = port.lock();
    if port.join == Join::Free {
        return Err(Status::NotFound);
    }
    port.vcpu = vcpu;
    port.priority = priority;
    Ok(())
}

/// EventStatus.
pub fn status(domain: &Domain, port: u64) -> Result<EventStatus, Status> {
    let (number, port) = domain.ports.named(port)?;
    let port = *port.lock();
    let (kind, remote, remote_port) = match port.join {
        Join::Free => (kind::FREE, 0, 0),
        Join::Unbound(remote) => (kind::UNBOUND, remote, 0),
        Join::Joined(remote, port) => (kind::JOINED, remote, port),
        Join::Virq(virq) => (kind::VIRQ, 0, virq),
        Join::Ipi => (kind::IPI, domain.id, number),
    };
    let word = domain.ports.words.get().and_then(|w| w.get(number as usize));
    Ok(EventStatus {
        kind,
        remote: remote.into(),
        remote_port,
        vcpu: port.vcpu,
        priority: port.priority.into(),
        word: word.map_or(0, |w| w.load(Ordering::Relaxed)),
    })
}

/// EventClose.
pub fn close(domain: &Domain, port: u64) -> Result<(), Status> {
    let (number, port) = domain.ports.named(port)?;
    let old = core::mem::replace(&mut *port.lock(), FREE);
    if old.join == Join::Free {
        return Err(Status::NotFound);
    }
    domain.ports.used.fetch_sub(1, Ordering::Relaxed);
    match old.join {
        Join::Joined(remote, remote_port) => {
            let me = Join::Joined(domain.id, number);
            if remote == domain.id {
                unjoin(domain, remote_port, me);
            } else if let Some(remote) = table::get(remote) {
                unjoin(&remote, remote_port, me);
            }
        }
        Join::Virq(virq) => {
            if let Some(place) = domain.ports.virqs.get(virq as usize) {
                place.store(0, Ordering::SeqCst);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The partner closed: the port waits for a new one of the same domain.
fn unjoin(domain: &Domain, number: u32, me: Join) {
    let (Some(port), Join::Joined(partner, _)) = (domain.ports.get(number), me) else {
        return;
    };
    let mut port = port.lock();
    if port.join == me {
        port.join = Join::Unbound(partner);
    }
}

/// Closes some ports of a dying domain; true when all are closed.
pub fn close_some(domain: &Domain) -> bool {
    let count = domain.ports.ports.len() as u32;
    if domain.ports.used.load(Ordering::Relaxed) == 0 {
        return true;
    }
    let start = domain.ports.cursor.load(Ordering::Relaxed) % count;
    for i in 0..CLOSE_STEP.min(count) {
        // NotFound: that port is free already.
        let _ = close(domain, u64::from((start + i) % count));
    }
    let next = (start + CLOSE_STEP) % count;
    domain.ports.cursor.store(next, Ordering::Relaxed);
    domain.ports.used.load(Ordering::Relaxed) == 0
}
