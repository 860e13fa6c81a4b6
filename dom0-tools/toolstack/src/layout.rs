// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things lie in a guest's memory.
//!
//! ```text
//! 0x0000_1000  GDT                          \  read once by the kernel's entry,
//! 0x0000_7000  zero page                     | plain RAM afterwards
//! 0x0001_0000  page tables, six pages        |
//! 0x0002_0000  command line                 /
//! 0x0007_e000  device pages, 32             \
//! 0x0009_e000  start info                    | reserved in E820, for good
//! 0x0009_f000  console ring                 /
//! 0x000a_0000  (not told to the kernel up to 1 MiB)
//! 0x0100_0000  kernel, where it prefers to be, and what it needs behind
//!      …       initrd, as high as it may be below 0xfec0_0000
//! 0xfec0_0000  hole up to 4 GiB: the local APIC's page is no RAM
//! 4 GiB        RAM above
//! ```
//!
//! The reserved pages are where a PC keeps its EBDA and below: Linux gives the
//! first MiB to nobody anyway, so they cost the guest nothing.

use crate::bzimage::BzImage;
use crate::units::format_size;
use hv_abi::PAGE_SIZE;

/// Global descriptor table.
pub const GDT: u64 = 0x1000;
/// Linux's `boot_params`.
pub const ZERO_PAGE: u64 = 0x7000;
/// End of a stack that is good enough for an exception.
pub const STACK_END: u64 = 0x9000;
/// Root of the page tables; the others follow.
pub const PAGE_TABLES: u64 = 0x1_0000;
/// Command line with its zero.
pub const CMDLINE: u64 = 0x2_0000;
/// First device page (`hv_io::slot`); the others follow, all zero: empty.
pub const DEVICES: u64 = 0x7_e000;
/// Number of device pages.
pub const DEVICE_PAGES: u32 = 32;
/// [`hv_abi::start::StartInfo`].
pub const START_INFO: u64 = 0x9_e000;
/// [`hv_abi::console`].
pub const CONSOLE: u64 = 0x9_f000;
/// End of what is mapped to write all of the above.
pub const BOOT_END: u64 = 0xa_0000;
const _: () = assert!(DEVICES + DEVICE_PAGES as u64 * PAGE_SIZE == START_INFO);
/// Where RAM goes on for the kernel.
pub const HIGH_START: u64 = 0x10_0000;
/// The hole around the local APIC's page.
pub const HOLE_START: u64 = 0xfec0_0000;
/// See [`HOLE_START`].
pub const HOLE_END: u64 = 0x1_0000_0000;

/// Bytes of RAM from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
}

impl Range {
    /// Pages it has.
    pub fn pages(self) -> u64 {
        (self.end - self.start) / PAGE_SIZE
    }
}

/// The RAM of a domain with `memory` bytes, in one piece or two.
pub fn ram(memory: u64) -> Vec<Range> {
    let low = memory.min(HOLE_START);
    let mut ranges = vec![Range { start: 0, end: low }];
    if memory > low {
        ranges.push(Range { start: HOLE_END, end: HOLE_END + (memory - low) });
    }
    ranges
}

/// An entry of the memory map: range, and whether the kernel may use it.
pub fn e820(memory: u64) -> Vec<(Range, bool)> {
    let range = |start, end| Range { start, end };
    let mut map = vec![(range(0, DEVICES), true), (range(DEVICES, BOOT_END), false)];
    for ram in ram(memory) {
        map.push((range(ram.start.max(HIGH_START), ram.end), true));
    }
    map
}

/// Where kernel and initrd go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The kernel's payload.
    pub kernel: u64,
    /// The initrd, if there is one.
    pub initrd: Option<u64>,
}

/// Places kernel and initrd in `memory` bytes of RAM, or says how much they need.
pub fn place(image: &BzImage, initrd_len: u64, memory: u64) -> Result<Placement, String> {
    let low = memory.min(HOLE_START);
    let initrd_room = initrd_len.next_multiple_of(PAGE_SIZE);
    let fits = |kernel: u64| {
        let end = kernel.checked_add(image.init_size)?;
        let top = low.min(image.initrd_max.saturating_add(1));
        let initrd = top.checked_sub(initrd_room)? & !(PAGE_SIZE - 1);
        let room = end <= low && (initrd_len == 0 || initrd >= end.max(HIGH_START));
        room.then_some(Placement { kernel, initrd: (initrd_len > 0).then_some(initrd) })
    };
    let preferred = image.preferred.max(HIGH_START);
    let lowest = HIGH_START.next_multiple_of(image.alignment);
    let found = fits(preferred).or_else(|| image.relocatable.then(|| fits(lowest)).flatten());
    found.ok_or_else(|| {
        let start = if image.relocatable { lowest } else { preferred };
        let need = (start.saturating_add(image.init_size))
            .saturating_add(initrd_room)
            .next_multiple_of(1 << 20);
        format!(
            "too little memory: {} are given, kernel and initrd alone need {}",
            format_size(memory),
            format_size(need)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn image(init_size: u64, relocatable: bool) -> BzImage {
        BzImage {
            payload: 1024,
            payload_len: MIB,
            preferred: 16 * MIB,
            relocatable,
            alignment: 2 * MIB,
            init_size,
            initrd_max: 0x7fff_ffff,
            cmdline_max: 2047,
            setup_header: vec![],
        }
    }

    #[test]
    fn memory_above_the_hole_goes_above_4_gib() {
        assert_eq!(ram(128 * MIB), [Range { start: 0, end: 128 * MIB }]);
        let big = ram(8192 * MIB);
        assert_eq!(big.iter().map(|r| r.pages()).sum::<u64>(), 8192 * 256);
        assert_eq!(big[0].end, HOLE_START);
        assert_eq!(big[1].start, HOLE_END);
        assert!(big.iter().all(|r| r.end <= 0xfee0_0000 || r.start > 0xfee0_0fff));
    }

    #[test]
    fn small_memory_moves_a_relocatable_kernel_down() {
        let place = |m, relocatable| place(&image(8 * MIB, relocatable), 4 * MIB, m * MIB);
        assert_eq!(place(128, true), Ok(Placement { kernel: 16 * MIB, initrd: Some(124 * MIB) }));
        assert_eq!(place(16, true).unwrap().kernel, 2 * MIB);
        assert!(place(16, false).unwrap_err().contains("need 28M"));
        assert_eq!(
            place(13, true).unwrap_err(),
            "too little memory: 13M are given, kernel and initrd alone need 14M"
        );
    }

    proptest! {
        #[test]
        fn nothing_overlaps(init in 1u64..256, initrd in 0u64..2048 * MIB, memory in 8u64..8192,
                            relocatable: bool) {
            let image = image(init * MIB, relocatable);
            let Ok(p) = place(&image, initrd, memory * MIB) else { return Ok(()) };
            let low = (memory * MIB).min(HOLE_START);
            prop_assert!(p.kernel >= HIGH_START && p.kernel + image.init_size <= low);
            prop_assert_eq!(p.initrd.is_some(), initrd > 0);
            if let Some(start) = p.initrd {
                prop_assert!(start.is_multiple_of(PAGE_SIZE));
                prop_assert!(start >= p.kernel + image.init_size);
                prop_assert!(start + initrd <= low.min(image.initrd_max + 1));
            }
        }

        #[test]
        fn the_map_tells_of_owned_memory_only(memory in 8u64..10_000) {
            let owned = ram(memory * MIB);
            let map = e820(memory * MIB);
            for ((a, _), (b, _)) in map.iter().zip(&map[1..]) {
                prop_assert!(a.end <= b.start);
            }
            for (range, _) in &map {
                prop_assert!(range.start < range.end);
                prop_assert!(owned.iter().any(|o| o.start <= range.start && range.end <= o.end));
            }
            let usable = |at| map.iter().any(|(r, ram)| *ram && r.start <= at && at < r.end);
            prop_assert!(!usable(START_INFO) && !usable(CONSOLE) && !usable(DEVICES) && !usable(0xfee0_0000));
        }
    }
}
