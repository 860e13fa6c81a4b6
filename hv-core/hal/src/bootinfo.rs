// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader told, in the core's own words and memory, and the
//! arithmetic over it: [`tidy`] makes one ordered map of page-aligned ranges
//! out of whatever the firmware listed, [`find_high`] looks for free room.
//! Pure; filled by [`crate::multiboot`], used by `boot`.

use alloc::vec::Vec;

/// What a range of the machine's address space holds. A later kind wins where
/// the firmware lists two for the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionKind {
    /// Usable memory.
    Ram,
    /// ACPI tables; usable once they are read.
    AcpiReclaim,
    /// ACPI firmware storage.
    AcpiNvs,
    /// Not memory, or the firmware's.
    Reserved,
    /// Broken memory.
    Unusable,
}

/// One range, page-aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What it holds.
    pub kind: RegionKind,
}

/// A file the boot loader put into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// The words that came with it, without a file name in front.
    pub cmdline: &'static str,
}

/// All that the boot loader told.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// The core's own words, without a file name in front.
    pub cmdline: &'static str,
    /// Name of the loader.
    pub loader: &'static str,
    /// The machine's memory, in order of address, without overlaps.
    pub memory: &'static [Region],
    /// The files.
    pub modules: &'static [Module],
    /// Machine address of ACPI's root pointer, or 0.
    pub rsdp: u64,
}

/// Machine memory before there is a frame database: the parsers of loader
/// and firmware tables read through this.
pub trait Physical {
    /// Copies bytes out; false when the range can't be read.
    #[must_use]
    fn copy(&self, address: u64, out: &mut [u8]) -> bool;
}

/// Loader strings and tables beyond this are taken for damage.
pub const MAX_TEXT: usize = 4096;

const PAGE_MASK: u64 = hv_abi::PAGE_SIZE - 1;

/// Makes ordered, merged, page-aligned ranges without overlaps: RAM shrinks to
/// whole pages, everything else grows to them, the less usable kind wins.
/// Addresses from `limit` on are left out.
pub fn tidy(listed: &[Region], limit: u64) -> Vec<Region> {
    let whole: Vec<Region> = listed
        .iter()
        .map(|r| match r.kind {
            RegionKind::Ram => Region {
                start: r.start.saturating_add(PAGE_MASK) & !PAGE_MASK,
                end: r.end.min(limit) & !PAGE_MASK,
                ..*r
            },
            _ => Region {
                start: r.start & !PAGE_MASK,
                end: r.end.saturating_add(PAGE_MASK).min(limit) & !PAGE_MASK,
                ..*r
            },
        })
        .filter(|r| r.start < r.end)
        .collect();
    let mut edges: Vec<u64> = whole.iter().flat_map(|r| [r.start, r.end]).collect();
    edges.sort_unstable();
    edges.dedup();

    let mut tidied: Vec<Region> = Vec::new();
    for (&start, &end) in edges.iter().zip(edges.iter().skip(1)) {
        let kinds = whole.iter().filter(|r| r.start <= start && end <= r.end).map(|r| r.kind);
        let Some(kind) = kinds.max() else { continue };
        match tidied.last_mut() {
            Some(last) if last.end == start && last.kind == kind => last.end = end,
            _ => tidied.push(Region { start, end, kind }),
        }
    }
    tidied
}

/// The highest aligned range of `size` bytes that is RAM, ends at or below
/// `limit`, lies above the first MiB and meets none of `used`.
pub fn find_high(
    memory: &[Region],
    used: &[(u64, u64)],
    size: u64,
    align: u64,
    limit: u64,
) -> Option<u64> {
    for region in memory.iter().rev().filter(|r| r.kind == RegionKind::Ram) {
        let floor = region.start.max(1 << 20);
        let mut end = region.end.min(limit);
        while let Some(start) = end.checked_sub(size).map(|start| start & !(align - 1)) {
            if start < floor {
                break;
            }
            match used.iter().find(|u| u.0 < start + size && start < u.1) {
                Some(obstacle) => end = obstacle.0,
                None => return Some(start),
            }
        }
    }
    None
}

/// A loader's string without the file name that some put in front: a first
/// word with a slash in it, or one that ends as kernel images do.
pub fn without_path(text: &str) -> &str {
    let text = text.trim();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let is_path = first.contains('/') || first.ends_with("bzImage") || first.ends_with(".bin");
    if is_path && !first.contains('=') { rest.trim_start() } else { text }
}

#[cfg(test)]
mod tests {
    use super::RegionKind::*;
    use super::*;

    fn region(start: u64, end: u64, kind: RegionKind) -> Region {
        Region { start, end, kind }
    }

    #[test]
    fn map_is_ordered_merged_and_the_less_usable_kind_wins() {
        let listed = [
            region(0x10_0000, 0x40_0800, Ram),
            region(0, 0x9_fc00, Ram),
            region(0x9_fc00, 0xa_0000, Reserved),
            region(0x20_0000, 0x20_0010, AcpiNvs),
            region(0x40_0000, 0x50_0000, Ram),
            region(5, 5, Ram),
            region(u64::MAX - 5, u64::MAX, Reserved),
        ];
        assert_eq!(
            tidy(&listed, 1 << 40),
            [
                region(0, 0x9_f000, Ram),
                region(0x9_f000, 0xa_0000, Reserved),
                region(0x10_0000, 0x20_0000, Ram),
                region(0x20_0000, 0x20_1000, AcpiNvs),
                region(0x20_1000, 0x50_0000, Ram),
            ]
        );
    }

    #[test]
    fn room_is_found_from_the_top_around_obstacles() {
        let memory = [
            region(0, 0xa_0000, Ram),
            region(0x10_0000, 0x80_0000, Ram),
            region(0x1_0000_0000, 0x2_0000_0000, Ram),
        ];
        let used = [(0x7f_0000, 0x80_0000), (0x7e_8000, 0x7e_9000)];
        let find = |size, align| find_high(&memory, &used, size, align, 1 << 32);
        assert_eq!(find(0x1000, 0x1000), Some(0x7e_f000));
        assert_eq!(find(0x8000, 0x8000), Some(0x7e_0000));
        assert_eq!(find(0x20_0000, 0x20_0000), Some(0x40_0000));
        assert_eq!(find(0x80_0000, 0x1000), None);
        assert_eq!(find_high(&memory, &used, 0x1000, 0x1000, 0xa_0000), None);
    }

    #[test]
    fn file_names_go_and_options_stay() {
        assert_eq!(without_path("/tmp/hv-core.bin dom0_mem=1G  x"), "dom0_mem=1G  x");
        assert_eq!(without_path("bzImage console=ttyS1"), "console=ttyS1");
        assert_eq!(without_path("root=/dev/sda1 quiet"), "root=/dev/sda1 quiet");
        assert_eq!(without_path("/boot/bzImage"), "");
        assert_eq!(without_path(""), "");
    }
}
