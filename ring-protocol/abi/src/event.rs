// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event ports: the bits of a port word, virtual interrupts, port status.
//!
//! A domain has an array of 32-bit **port words** and, for each vCPU and
//! priority, a ring of 32-bit **slots**, all in its own memory.
//! *Send* (the core): OR `PENDING` into the word. If it was set, or `MASKED`
//! is set, nothing else happens. Otherwise OR `LINKED`; if that was clear,
//! write `port + 1` into the ring's next slot and raise the upcall vector.
//! *Consume* (the guest), in order from its own counter: a slot of 0 means
//! empty; else write 0 back, advance, clear `LINKED`, then, unless `MASKED`,
//! clear `PENDING` and handle the port. *Unmask*: clear `MASKED`; if
//! `PENDING` is seen, make the call EventUnmask, which links it.
//! A port is in at most one slot, so a ring with a slot per port never
//! overflows and no event is lost.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The port has an event that was not consumed yet.
pub const PENDING: u32 = 1 << 31;
/// The guest wants no upcall for the port now.
pub const MASKED: u32 = 1 << 30;
/// The port is in a ring.
pub const LINKED: u32 = 1 << 29;

/// Smallest and largest log2 of the number of port words.
pub const LOG2_PORTS_MIN: u32 = 10;
/// See [`LOG2_PORTS_MIN`].
pub const LOG2_PORTS_MAX: u32 = 14;

/// Ring of urgent events; consumed first.
pub const PRIORITY_URGENT: u64 = 0;
/// Ring of ordinary events; where a new port starts.
pub const PRIORITY_NORMAL: u64 = 1;
/// Rings a vCPU has.
pub const PRIORITIES: usize = 2;

/// Virtual interrupts, raised by the core.
pub mod virq {
    /// Control domain: some domain's state changed (look with DomainInfo).
    pub const DOMAIN_STATE: u64 = 0;
    /// The control domain asks the caller to shut down (ShutdownRequest).
    pub const SHUTDOWN: u64 = 1;
    /// Control domain: the log has new text.
    pub const LOG: u64 = 2;
    /// One more than the last.
    pub const COUNT: usize = 3;
}

/// What a port is joined with.
pub mod kind {
    /// Free.
    pub const FREE: u32 = 0;
    /// Waits for `remote` to bind.
    pub const UNBOUND: u32 = 1;
    /// Joined with `remote_port` of `remote`.
    pub const JOINED: u32 = 2;
    /// Raised by the core for the virtual interrupt in `remote_port`.
    pub const VIRQ: u32 = 3;
    /// Raised by its own domain.
    pub const IPI: u32 = 4;
}

/// Answer of EventStatus.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventStatus {
    /// One of [`kind`].
    pub kind: u32,
    /// The other domain.
    pub remote: u32,
    /// The other port, or the virtual interrupt.
    pub remote_port: u32,
    /// vCPU whose ring gets the port.
    pub vcpu: u32,
    /// Priority of that ring.
    pub priority: u32,
    /// The port's word as the core sees it now.
    pub word: u32,
}
const _: () = assert!(size_of::<EventStatus>() == 24);
