// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes through the checks is in range, whatever went in.

use hv_io::blk::{self, Kind, Refusal, Segment, Shape};
use hv_io::slot::{DriverHead, QueueSetup, check_features, check_queue};
use hv_io::{Fault, feature};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_queue_that_passes_is_sound(
        desc: u64, driver: u64, device: u64, size: u16, enabled in 0u16..2, aligned: bool,
        max in prop::sample::select(vec![1u16, 16, 256, 1024, 32768]),
    ) {
        let mask = if aligned { !15 } else { !0 };
        let setup = QueueSetup {
            desc: desc & mask, driver: driver & mask, device: device & mask, size, enabled,
            reserved: 0,
        };
        match check_queue(&setup, max) {
            Ok(None) => prop_assert_eq!(enabled, 0),
            Ok(Some(queue)) => {
                prop_assert!(queue.size.is_power_of_two() && queue.size <= max);
                prop_assert!(queue.desc.is_multiple_of(16) && queue.device.is_multiple_of(4));
                for (at, len) in queue.parts() {
                    prop_assert!(at != 0 && at.checked_add(len).is_some());
                }
            }
            Err(fault) => prop_assert!(matches!(fault, Fault::QueueSize | Fault::QueueAddress)),
        }
    }

    #[test]
    fn only_offered_features_pass(offered: u64, accepted: u64, hi in 0u64..2) {
        let head = DriverHead { features_lo: accepted, features_hi: hi, ..DriverHead::default() };
        let good = accepted & !offered == 0 && hi == 0 && accepted & feature::VERSION_1 != 0;
        prop_assert_eq!(check_features(&head, offered).is_ok(), good);
    }

    #[test]
    fn a_range_that_passes_is_on_the_disk(
        sector: u64, small in 0u64..4096, len in 0u64..1 << 22, near: bool,
        block in prop::sample::select(vec![512u32, 4096]),
    ) {
        let shape = Shape { capacity: 1 << 20, block };
        let sector = if near { small } else { sector };
        if let Ok(start) = blk::check_range(sector, len, shape) {
            prop_assert!(start + len <= shape.capacity);
            prop_assert!(start.is_multiple_of(block.into()) && len.is_multiple_of(block.into()));
        }
    }

    #[test]
    fn a_segment_that_passes_is_on_the_disk(sector in 0u64..5000, num_sectors: u32, flags in 0u32..4,
                                            zeroes: bool) {
        let shape = Shape { capacity: 1 << 20, block: 512 };
        let segment = Segment { sector, num_sectors, flags };
        if let Ok((start, len, unmap)) = blk::check_segment(&segment, shape, zeroes) {
            prop_assert!(start + len <= shape.capacity);
            prop_assert!(flags <= u32::from(zeroes));
            prop_assert_eq!(unmap, !zeroes || flags == 1);
        }
    }
}

#[test]
fn requests_are_known_or_refused() {
    let all = blk::feature::FLUSH | blk::feature::DISCARD | blk::feature::WRITE_ZEROES;
    let header = |kind| blk::Header { kind, reserved: 0, sector: 7 };
    assert_eq!(Kind::parse(&header(0), 0), Ok(Kind::Read(7)));
    assert_eq!(Kind::parse(&header(1), 0), Ok(Kind::Write(7)));
    assert_eq!(Kind::parse(&header(1), blk::feature::RO), Err(Refusal::Range));
    for kind in [4, 11, 13] {
        assert_eq!(Kind::parse(&header(kind), 0), Err(Refusal::Unsupported));
        assert!(Kind::parse(&header(kind), all).is_ok());
    }
    for kind in [2, 3, 5, 9, 14, u32::MAX] {
        assert_eq!(Kind::parse(&header(kind), all), Err(Refusal::Unsupported));
    }
}
