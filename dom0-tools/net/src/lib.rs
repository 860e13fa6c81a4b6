// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend of network cards, `hv-net`: one process for a guest's card,
//! between virtio-net's queues and a tap. And the service of NAT networks,
//! `hv-nat`.
//!
//! ```text
//! guest ─ queues ─► transmit ─ header, guard, limit ─► tap ─► bridge
//! guest ◄─ queues ─ receive ◄──────────── limit ────── tap ◄─ bridge
//! ```
//!
//! - [`settings`]: what the daemon wants; [`device`]: the card on the main
//!   thread; [`pair`]: the thread of a pair of queues, with [`transmit`] and
//!   [`receive`]; [`control`]: the control queue; [`card`]: what they share.
//! - [`header`], [`guard`]: what a guest says about a packet, and whether it may
//!   send it.
//! - [`nat`]: DHCP and DNS for a NAT network.
//!
//! Handshake, queues and confinement are `hv-backend`'s; taps, bridges and
//! addresses are made by the daemon.
#![forbid(unsafe_code)]

pub mod card;
pub mod control;
pub mod device;
pub mod guard;
pub mod header;
pub mod nat;
pub mod pair;
pub mod receive;
pub mod settings;
pub mod stats;
pub mod transmit;
