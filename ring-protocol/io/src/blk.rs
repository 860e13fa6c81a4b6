// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices (virtio 1.2, 5.2): configuration, request header, segments of
//! discard and write-zeroes.
//!
//! [`Kind::parse`] says what a request wants, [`check_range`] and
//! [`check_segment`] whether it lies on the disk.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Unit of every sector number here, whatever the disk's block size is.
pub const SECTOR: u64 = 512;
/// Bytes that a request for the serial number returns.
pub const ID_LEN: usize = 20;

/// Features (virtio 1.2, 5.2.3).
pub mod feature {
    /// `seg_max` is valid.
    pub const SEG_MAX: u64 = 1 << 2;
    /// The disk can't be written.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` is valid.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// There is a flush.
    pub const FLUSH: u64 = 1 << 9;
    /// `topology` is valid.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// `num_queues` is valid.
    pub const MQ: u64 = 1 << 12;
    /// There is a discard.
    pub const DISCARD: u64 = 1 << 13;
    /// There is a write of zeroes.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Configuration space.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Config {
    /// In sectors of 512 bytes.
    pub capacity: u64,
    /// Largest segment, if that feature is offered.
    pub size_max: u32,
    /// Most segments of a request.
    pub seg_max: u32,
    /// Cylinders, heads and sectors; not offered.
    pub geometry: u32,
    /// Block size.
    pub blk_size: u32,
    /// log2 of logical blocks in a physical one.
    pub physical_block_exp: u8,
    /// Blocks to the first aligned one.
    pub alignment_offset: u8,
    /// Suggested least I/O in blocks.
    pub min_io_size: u16,
    /// Suggested best I/O in blocks.
    pub opt_io_size: u32,
    /// Cache mode; not offered.
    pub writeback: u8,
    /// 0.
    pub unused0: u8,
    /// Queues.
    pub num_queues: u16,
    /// Most sectors of one segment of a discard.
    pub max_discard_sectors: u32,
    /// Most segments of a discard.
    pub max_discard_seg: u32,
    /// Alignment of discards in sectors.
    pub discard_sector_alignment: u32,
    /// Most sectors of one segment of a write of zeroes.
    pub max_write_zeroes_sectors: u32,
    /// Most segments of a write of zeroes.
    pub max_write_zeroes_seg: u32,
    /// Whether that may give space back.
    pub write_zeroes_may_unmap: u8,
    /// 0.
    pub unused1: [u8; 3],
    /// 0, up to a whole number of the widest field.
    pub unused2: u32,
}
const _: () = assert!(size_of::<Config>() == 64);

/// The first 16 bytes of a request.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// One of [`request`].
    pub kind: u32,
    /// Priority; not used.
    pub reserved: u32,
    /// First sector of a read or write.
    pub sector: u64,
}
const _: () = assert!(size_of::<Header>() == 16);

/// Values of [`Header::kind`].
pub mod request {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Make what was acknowledged durable.
    pub const FLUSH: u32 = 4;
    /// Tell the serial number.
    pub const GET_ID: u32 = 8;
    /// Give space back.
    pub const DISCARD: u32 = 11;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 13;
}

/// The last byte of a request.
pub mod status {
    /// Done.
    pub const OK: u8 = 0;
    /// It failed.
    pub const IOERR: u8 = 1;
    /// It is not a request of this device.
    pub const UNSUPP: u8 = 2;
}

/// One range of a discard or write of zeroes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Segment {
    /// First sector.
    pub sector: u64,
    /// Sectors.
    pub num_sectors: u32,
    /// Bit 0: may give space back (write of zeroes only).
    pub flags: u32,
}
const _: () = assert!(size_of::<Segment>() == 16);

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read from this sector on.
    Read(u64),
    /// Write from this sector on.
    Write(u64),
    /// Make what was acknowledged durable.
    Flush,
    /// Tell the serial number.
    Identify,
    /// Give space back.
    Discard,
    /// Write zeroes.
    WriteZeroes,
}

/// Why a request is answered without being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// [`status::UNSUPP`].
    Unsupported,
    /// [`status::IOERR`]: beyond the end, not whole blocks, read-only.
    Range,
}

impl Refusal {
    /// The status byte.
    pub fn status(self) -> u8 {
        match self {
            Refusal::Unsupported => status::UNSUPP,
            Refusal::Range => status::IOERR,
        }
    }
}

impl Kind {
    /// What the header asks for, among what `features` has.
    pub fn parse(header: &Header, features: u64) -> Result<Self, Refusal> {
        let with = |feature: u64, kind| match features & feature {
            0 => Err(Refusal::Unsupported),
            _ => Ok(kind),
        };
        let kind = match header.kind {
            request::IN => Kind::Read(header.sector),
            request::OUT => Kind::Write(header.sector),
            request::FLUSH => return with(feature::FLUSH, Kind::Flush),
            request::GET_ID => Kind::Identify,
            request::DISCARD => return with(feature::DISCARD, Kind::Discard),
            request::WRITE_ZEROES => return with(feature::WRITE_ZEROES, Kind::WriteZeroes),
            _ => return Err(Refusal::Unsupported),
        };
        match kind {
            Kind::Write(_) if features & feature::RO != 0 => Err(Refusal::Range),
            kind => Ok(kind),
        }
    }
}

/// A disk's size, in bytes; both are whole sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size.
    pub capacity: u64,
    /// Block size: 512 or 4096.
    pub block: u32,
}

/// Byte offset of a read or write of `len` bytes that lies on the disk and is
/// of whole blocks.
pub fn check_range(sector: u64, len: u64, shape: Shape) -> Result<u64, Refusal> {
    let block = u64::from(shape.block);
    let start = sector.checked_mul(SECTOR).ok_or(Refusal::Range)?;
    let end = start.checked_add(len).ok_or(Refusal::Range)?;
    let whole = start.is_multiple_of(block) && len.is_multiple_of(block);
    if whole && end <= shape.capacity { Ok(start) } else { Err(Refusal::Range) }
}

/// Offset and length in bytes of a segment, and whether space may be given
/// back. `zeroes` tells a write of zeroes from a discard, whose flags must be 0
/// (virtio 1.2, 5.2.6.2).
pub fn check_segment(
    segment: &Segment,
    shape: Shape,
    zeroes: bool,
) -> Result<(u64, u64, bool), Refusal> {
    let allowed = u32::from(zeroes);
    if segment.flags & !allowed != 0 {
        return Err(Refusal::Unsupported);
    }
    let len = u64::from(segment.num_sectors) * SECTOR;
    let start = check_range(segment.sector, len, shape)?;
    Ok((start, len, !zeroes || segment.flags & 1 != 0))
}
