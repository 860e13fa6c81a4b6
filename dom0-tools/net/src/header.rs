// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header in front of each packet (virtio 1.2, 5.1.6), as a guest claims
//! it and as we believe it:
//!
//! ```text
//! fn check(claimed: &[u8; LEN], frame: usize, offers: u64) -> Result<Header, Fault>
//! ```
//!
//! A tap with IFF_VNET_HDR reads the same structure, so what passes here goes to
//! the kernel as it is. The kernel checks again; what we refuse, we count.

use hv_io::net::{Header, feature, flags, gso};
use zerocopy::FromBytes;

/// Bytes of the header, `num_buffers` included.
pub const LEN: usize = size_of::<Header>();

/// The longest Ethernet header there is: two tags.
const ETHERNET_MAX: usize = 14 + 2 * 4;
/// The longest frame with segmentation: an IP packet's largest length.
pub const FRAME_MAX: usize = 65_535 + ETHERNET_MAX;
/// The shortest frame: an Ethernet header.
pub const FRAME_MIN: usize = 14;

/// Why a header is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame is shorter than an Ethernet header, or longer than allowed.
    Length,
    /// It asks for something that was not negotiated.
    NotOffered,
    /// No such kind of segmentation.
    GsoType,
    /// Segmentation without a size, or without a checksum.
    Gso,
    /// The checksum lies outside the frame.
    Checksum,
}

/// Believes a header of a frame of `frame` bytes, whose guest negotiated
/// `features`, or says why not. `plain_max` is the longest frame without
/// segmentation. Flags that a driver may not set are ignored (5.1.6.2.2).
pub fn check(
    claimed: &[u8; LEN],
    frame: usize,
    plain_max: usize,
    features: u64,
) -> Result<Header, Fault> {
    let Ok(claimed) = Header::read_from_bytes(claimed) else { return Err(Fault::Length) };
    let max = if claimed.gso_type == gso::NONE { plain_max } else { FRAME_MAX };
    if frame < FRAME_MIN || frame > max {
        return Err(Fault::Length);
    }
    let mut header = Header::default();
    if claimed.flags & flags::NEEDS_CSUM != 0 {
        if features & feature::CSUM == 0 {
            return Err(Fault::NotOffered);
        }
        let (start, offset) = (claimed.csum_start, claimed.csum_offset);
        if usize::from(start) + usize::from(offset) + 2 > frame {
            return Err(Fault::Checksum);
        }
        header.flags = flags::NEEDS_CSUM;
        (header.csum_start, header.csum_offset) = (start, offset);
    }
    if claimed.gso_type == gso::NONE {
        return Ok(header);
    }
    let wanted = match claimed.gso_type & !gso::ECN {
        gso::TCPV4 => feature::HOST_TSO4,
        gso::TCPV6 => feature::HOST_TSO6,
        _ => return Err(Fault::GsoType),
    };
    let ecn = if claimed.gso_type & gso::ECN != 0 { feature::HOST_ECN } else { 0 };
    if features & (wanted | ecn) != wanted | ecn {
        return Err(Fault::NotOffered);
    }
    if claimed.gso_size == 0 || header.flags & flags::NEEDS_CSUM == 0 {
        return Err(Fault::Gso);
    }
    (header.gso_type, header.gso_size) = (claimed.gso_type, claimed.gso_size);
    // A hint that a device must not rely on; a tap refuses one beyond the frame.
    header.hdr_len = claimed.hdr_len.min(u16::try_from(frame).unwrap_or(u16::MAX));
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flags::NEEDS_CSUM;
    use gso::{ECN as GSO_ECN, NONE as GSO_NONE, TCPV4 as GSO_TCPV4, TCPV6 as GSO_TCPV6};
    use proptest::prelude::*;

    const ALL: u64 = feature::CSUM | feature::HOST_TSO4 | feature::HOST_TSO6 | feature::HOST_ECN;

    fn claim(flags: u8, gso: u8, words: [u16; 4]) -> [u8; LEN] {
        let [hdr_len, gso_size, csum_start, csum_offset] = words;
        let gso_type = gso;
        let num_buffers = 0;
        let header =
            Header { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers };
        zerocopy::transmute!(header)
    }

    #[test]
    fn plain_frames_pass_without_anything_negotiated() {
        assert_eq!(check(&[0; LEN], 60, 1518, 0), Ok(Header::default()));
        assert_eq!(check(&[0; LEN], 13, 1518, 0), Err(Fault::Length));
        assert_eq!(check(&[0; LEN], 1519, 1518, 0), Err(Fault::Length));
    }

    #[test]
    fn a_checksum_lies_within_the_frame() {
        let claimed = claim(NEEDS_CSUM, 0, [0, 0, 34, 16]);
        assert_eq!(check(&claimed, 52, 1518, ALL).map(|h| h.csum_start), Ok(34));
        assert_eq!(check(&claimed, 51, 1518, ALL), Err(Fault::Checksum));
        assert_eq!(check(&claimed, 52, 1518, 0), Err(Fault::NotOffered));
        let claimed = claim(NEEDS_CSUM, 0, [0, 0, u16::MAX, u16::MAX]);
        assert_eq!(check(&claimed, 60, 1518, ALL), Err(Fault::Checksum));
    }

    #[test]
    fn segmentation_needs_a_size_a_checksum_and_the_feature() {
        let good = claim(NEEDS_CSUM, GSO_TCPV4, [54, 1448, 34, 16]);
        assert!(check(&good, 65_226, 1518, ALL).is_ok());
        assert_eq!(check(&good, 65_226, 1518, feature::CSUM), Err(Fault::NotOffered));
        assert_eq!(check(&good, FRAME_MAX + 1, 1518, ALL), Err(Fault::Length));
        let ecn = claim(NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, [54, 1448, 34, 16]);
        assert_eq!(check(&ecn, 3000, 1518, ALL & !feature::HOST_ECN), Err(Fault::NotOffered));
        let no_size = claim(NEEDS_CSUM, GSO_TCPV6, [54, 0, 34, 16]);
        assert_eq!(check(&no_size, 3000, 1518, ALL), Err(Fault::Gso));
        let no_csum = claim(0, GSO_TCPV4, [54, 1448, 34, 16]);
        assert_eq!(check(&no_csum, 3000, 1518, ALL), Err(Fault::Gso));
        // UDP fragmentation, which is not offered, and nonsense.
        for kind in [3, 5, 2, 0x7f] {
            let other = claim(NEEDS_CSUM, kind, [54, 1448, 34, 16]);
            assert_eq!(check(&other, 3000, 1518, !0), Err(Fault::GsoType), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_within_bounds(
            claimed: [u8; LEN], frame in 0usize..70_000, features: u64,
        ) {
            if let Ok(header) = check(&claimed, frame, 1518, features) {
                prop_assert!((FRAME_MIN..=FRAME_MAX).contains(&frame));
                if header.flags != 0 {
                    let end = usize::from(header.csum_start) + usize::from(header.csum_offset) + 2;
                    prop_assert!(end <= frame && features & feature::CSUM != 0);
                }
                if header.gso_type != GSO_NONE {
                    prop_assert!(header.flags == NEEDS_CSUM && header.gso_size > 0);
                    prop_assert!(usize::from(header.hdr_len) <= frame);
                }
            }
        }
    }
}
