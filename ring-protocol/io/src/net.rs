// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network cards (virtio 1.2, 5.1): configuration and the header of a packet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Features (virtio 1.2, 5.1.3).
pub mod feature {
    /// The device takes packets without checksum.
    pub const CSUM: u64 = 1 << 0;
    /// The driver takes packets without checksum.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// `mtu` is valid.
    pub const MTU: u64 = 1 << 3;
    /// `mac` is valid.
    pub const MAC: u64 = 1 << 5;
    /// The driver takes TSO over IPv4.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// The driver takes TSO over IPv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// The driver takes TSO with ECN.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// The driver takes UFO.
    pub const GUEST_UFO: u64 = 1 << 10;
    /// The device takes TSO over IPv4.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// The device takes TSO over IPv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// The device takes TSO with ECN.
    pub const HOST_ECN: u64 = 1 << 13;
    /// The device takes UFO.
    pub const HOST_UFO: u64 = 1 << 14;
    /// The driver can merge receive buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// `status` is valid.
    pub const STATUS: u64 = 1 << 16;
    /// There is a control queue.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// There are several pairs of queues.
    pub const MQ: u64 = 1 << 22;
}

/// Bit of [`Config::status`]: the link is up.
pub const LINK_UP: u16 = 1;

/// Configuration space.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Config {
    /// Address.
    pub mac: [u8; 6],
    /// [`LINK_UP`] or 0.
    pub status: u16,
    /// Most pairs of queues.
    pub max_virtqueue_pairs: u16,
    /// Largest packet without its header.
    pub mtu: u16,
}
const _: () = assert!(size_of::<Config>() == 12);

/// Before every packet, in both directions (with VERSION_1 always 12 bytes).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// Bits of [`flags`].
    pub flags: u8,
    /// One of [`gso`].
    pub gso_type: u8,
    /// Bytes of headers of a packet to be cut.
    pub hdr_len: u16,
    /// Bytes of payload of each piece.
    pub gso_size: u16,
    /// Where the checksum begins.
    pub csum_start: u16,
    /// Where it is put, from there.
    pub csum_offset: u16,
    /// Receive buffers that the packet takes.
    pub num_buffers: u16,
}
const _: () = assert!(size_of::<Header>() == 12);

/// Bits of [`Header::flags`].
pub mod flags {
    /// The checksum is still to be made.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum was found right.
    pub const DATA_VALID: u8 = 2;
}

/// Values of [`Header::gso_type`].
pub mod gso {
    /// One packet.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const TCPV4: u8 = 1;
    /// UDP.
    pub const UDP: u8 = 3;
    /// TCP over IPv6.
    pub const TCPV6: u8 = 4;
    /// With ECN; a bit.
    pub const ECN: u8 = 0x80;
}
