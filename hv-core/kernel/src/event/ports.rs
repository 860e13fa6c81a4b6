// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports and their joins. Every port has a lock of its own and no code holds
//! two: a join is made from one side, then checked and completed from the
//! other, and undone if the other refuses. What races is in
//! [`protocol`](super::protocol).

use super::protocol::{self, Home, Join, Port, Target, Word};
use super::ring::Words;
use crate::domain::{Domain, table};
use crate::sched;
use crate::vcpu::signal;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hv_abi::event::{EventStatus, PRIORITIES, kind, virq};
use hv_abi::{DomainId, Status};
use spin::{Mutex, Once};

/// All ports of a domain.
pub struct Ports {
    ports: Box<[Mutex<Port>]>,
    /// The shared port words, once registered.
    pub words: Once<Words>,
    /// Registrations take turns.
    pub setup: Mutex<()>,
    /// Ports that are not free.
    pub used: AtomicU32,
    /// The most there may be of those.
    pub limit: AtomicU32,
    /// Events that arrived.
    pub delivered: AtomicU64,
    /// Events sent.
    pub sent: AtomicU64,
    /// vCPUs that poll.
    pub pollers: AtomicU32,
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
            ports: (0..count).map(|_| Mutex::new(Port::FREE)).collect(),
            words: Once::new(),
            setup: Mutex::new(()),
            used: AtomicU32::new(0),
            limit: AtomicU32::new(count),
            delivered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            pollers: AtomicU32::new(0),
            virqs: [const { AtomicU32::new(0) }; virq::COUNT],
            cursor: AtomicU32::new(1),
            forgotten: AtomicBool::new(false),
        }
    }

    /// Ports it was made with.
    pub fn len(&self) -> u32 {
        self.ports.len() as u32
    }

    /// It was made without any.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// A port that is not free: its word, once registered.
    pub fn word(&self, port: u32) -> Result<&'static AtomicU32, Status> {
        let words = self.words.get().ok_or(Status::State)?;
        let taken = self.get(port).is_some_and(|port| port.lock().join != Join::Free);
        words.get(port as usize).filter(|_| taken).ok_or(Status::NotFound)
    }

    fn get(&self, port: u32) -> Option<&Mutex<Port>> {
        self.ports.get(port as usize)
    }

    /// A port the caller named in a register.
    fn named(&self, port: u64) -> Result<(u32, &Mutex<Port>), Status> {
        let port = u32::try_from(port).map_err(|_| Status::NotFound)?;
        Ok((port, self.get(port).ok_or(Status::NotFound)?))
    }

    /// Ports counted as used, and those that are; for the audit.
    pub fn count(&self) -> (usize, usize) {
        let taken = self.ports.iter().filter(|port| port.lock().join != Join::Free).count();
        (self.used.load(Ordering::Relaxed) as usize, taken)
    }

    /// True from the second call on.
    pub fn forget_once(&self) -> bool {
        self.forgotten.swap(true, Ordering::SeqCst)
    }
}

impl Home for Arc<Domain> {
    type Lock = Mutex<Port>;
    type Word = AtomicU32;

    fn id(&self) -> DomainId {
        self.id
    }

    fn port(&self, number: u32) -> Option<&Mutex<Port>> {
        self.ports.get(number)
    }

    fn has_words(&self) -> bool {
        self.ports.words.get().is_some()
    }

    fn word(&self, number: u32) -> Option<&AtomicU32> {
        self.ports.words.get()?.get(number as usize)
    }

    fn hears(&self, target: Target) -> bool {
        self.vcpus.get(target.vcpu as usize).is_some_and(|vcpu| {
            let ring = vcpu.rings.get(usize::from(target.priority));
            ring.is_some_and(|r| r.get().is_some()) && vcpu.upcall.load(Ordering::SeqCst) != 0
        })
    }

    fn append(&self, target: Target, number: u32) {
        let Some(vcpu) = self.vcpus.get(target.vcpu as usize) else {
            return;
        };
        let Some(ring) = vcpu.rings.get(usize::from(target.priority)).and_then(|r| r.get()) else {
            return;
        };
        ring.append(number);
        self.ports.delivered.fetch_add(1, Ordering::Relaxed);
        vcpu.post(vcpu.upcall.load(Ordering::SeqCst));
        sched::notify(self, target.vcpu as usize);
    }
}

/// Takes a free port for `join`.
pub(super) fn take(domain: &Arc<Domain>, join: Join, vcpu: u32) -> Result<u32, Status> {
    let ports = &domain.ports;
    let limit = ports.limit.load(Ordering::Relaxed);
    ports
        .used
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
        .map_err(|_| Status::Limit)?;
    let count = ports.ports.len() as u32;
    let start = ports.cursor.load(Ordering::Relaxed);
    for i in 0..count {
        let number = start.wrapping_add(i) % count.max(1);
        if number != 0 && protocol::take(domain, number, join, vcpu) {
            ports.cursor.store(number + 1, Ordering::Relaxed);
            return Ok(number);
        }
    }
    ports.used.fetch_sub(1, Ordering::Relaxed);
    Err(Status::Limit)
}

/// Gives a port back that nobody could use yet.
pub(super) fn free(domain: &Arc<Domain>, number: u32) {
    if protocol::close(domain, number).is_ok() {
        domain.ports.used.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn vcpu_number(domain: &Domain, vcpu: u64) -> Result<u32, Status> {
    u32::try_from(vcpu).ok().filter(|v| (*v as usize) < domain.vcpus.len()).ok_or(Status::NotFound)
}

/// A port of `domain` that `remote` may bind to.
pub fn allocate(domain: &Arc<Domain>, remote: DomainId) -> Result<u32, Status> {
    if domain.is_dying() {
        return Err(Status::Dying);
    }
    take(domain, Join::Unbound(remote), 0)
}

/// Joins a new port of the caller with an unbound one of `remote`.
pub fn bind(caller: &Arc<Domain>, remote: &Arc<Domain>, remote_port: u64) -> Result<u32, Status> {
    if remote.is_dying() {
        return Err(Status::Dying);
    }
    let (theirs, _) = remote.ports.named(remote_port)?;
    let mine = take(caller, Join::Joined(remote.id, theirs), 0)?;
    match protocol::join(remote, theirs, caller.id, mine) {
        Ok(()) => Ok(mine),
        Err(status) => {
            free(caller, mine);
            Err(status)
        }
    }
}

/// A port that raises itself on a vCPU.
pub fn bind_ipi(domain: &Arc<Domain>, vcpu: u64) -> Result<u32, Status> {
    let vcpu = vcpu_number(domain, vcpu)?;
    take(domain, Join::Ipi, vcpu)
}

/// EventSend.
pub fn send(domain: &Arc<Domain>, port: u64) -> Result<(), Status> {
    let (number, port) = domain.ports.named(port)?;
    let join = port.lock().join;
    domain.ports.sent.fetch_add(1, Ordering::Relaxed);
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
    protocol::raise(domain, number, expected);
    // A poller counts itself, then looks at the words; here it is the other
    // way round. It may be told without a reason.
    if domain.ports.pollers.load(Ordering::SeqCst) != 0 {
        wake_pollers(domain);
    }
}

/// Has every vCPU that polls look again.
fn wake_pollers(domain: &Arc<Domain>) {
    for (index, vcpu) in domain.vcpus.iter().enumerate() {
        if vcpu.polling.load(Ordering::SeqCst) {
            vcpu.signals.fetch_or(signal::POLL, Ordering::SeqCst);
            sched::notify(domain, index);
        }
    }
}

/// Links every port that turned pending before words, ring and vector were
/// all there.
pub fn catch_up(domain: &Arc<Domain>) {
    for number in 1..domain.ports.ports.len() as u32 {
        protocol::look_again(domain, number);
    }
}

/// EventUnmask.
pub fn unmask(domain: &Arc<Domain>, port: u64) -> Result<(), Status> {
    let (number, port) = domain.ports.named(port)?;
    if port.lock().join == Join::Free {
        return Err(Status::NotFound);
    }
    let words = domain.ports.words.get().ok_or(Status::State)?;
    words.get(number as usize).ok_or(Status::NotFound)?;
    protocol::look_again(domain, number);
    Ok(())
}

/// EventTarget.
pub fn target(domain: &Arc<Domain>, port: u64, vcpu: u64, priority: u64) -> Result<(), Status> {
    let (number, _) = domain.ports.named(port)?;
    let vcpu = vcpu_number(domain, vcpu)?;
    let priority = u8::try_from(priority)
        .ok()
        .filter(|p| usize::from(*p) < PRIORITIES)
        .ok_or(Status::Invalid)?;
    protocol::aim(domain, number, Target { vcpu, priority })
}

/// EventStatus.
pub fn status(domain: &Arc<Domain>, port: u64) -> Result<EventStatus, Status> {
    let (number, port) = domain.ports.named(port)?;
    let port = *port.lock();
    let (kind, remote, remote_port) = match port.join {
        Join::Free => (kind::FREE, 0, 0),
        Join::Unbound(remote) => (kind::UNBOUND, remote, 0),
        Join::Joined(remote, port) => (kind::JOINED, remote, port),
        Join::Virq(virq) => (kind::VIRQ, 0, virq),
        Join::Ipi => (kind::IPI, domain.id, number),
    };
    Ok(EventStatus {
        kind,
        remote: remote.into(),
        remote_port,
        vcpu: port.target.vcpu,
        priority: port.target.priority.into(),
        word: domain.word(number).map_or(0, Word::get),
    })
}

/// EventClose.
pub fn close(domain: &Arc<Domain>, port: u64) -> Result<(), Status> {
    let (number, _) = domain.ports.named(port)?;
    let old = protocol::close(domain, number)?;
    domain.ports.used.fetch_sub(1, Ordering::Relaxed);
    match old {
        Join::Joined(remote, remote_port) => {
            let me = (domain.id, number);
            if remote == domain.id {
                protocol::part(domain, remote_port, me);
            } else if let Some(remote) = table::get(remote) {
                protocol::part(&remote, remote_port, me);
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

/// Closes some ports of a dying domain; true when all are closed.
pub fn close_some(domain: &Arc<Domain>) -> bool {
    let count = (domain.ports.ports.len() as u32).max(1);
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
