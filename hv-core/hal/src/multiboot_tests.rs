// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loader information made by hand, whole and damaged.

use super::*;
use std::vec::Vec;

/// Memory that begins at 0x1000 and holds what a test put there.
struct Memory(Vec<u8>);

const BASE: u64 = 0x1000;

impl Memory {
    fn new() -> Self {
        Self(vec![0; 0x2000])
    }
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - BASE) as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn words(&mut self, at: u64, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            self.put(at + 4 * i as u64, &word.to_le_bytes());
        }
    }
}

impl Physical for Memory {
    fn copy(&self, address: u64, out: &mut [u8]) -> bool {
        let Some(at) = address.checked_sub(BASE) else { return false };
        let Some(from) = self.0.get(at as usize..at as usize + out.len()) else { return false };
        out.copy_from_slice(from);
        true
    }
}

fn version_1() -> Memory {
    let mut m = Memory::new();
    m.words(0x1000, &[1 << 2 | 1 << 3 | 1 << 6 | 1 << 9, 0, 0, 0, 0x1100, 1, 0x1200]);
    m.words(0x102c, &[48, 0x1300, 0, 0, 0, 0x1400]);
    m.put(0x1100, b"/x/hv-core.bin loglevel=info\0");
    m.words(0x1200, &[0x40_0000, 0x50_0000, 0x1280, 0]);
    m.put(0x1280, b"bzImage console=ttyS1\0");
    m.words(0x1300, &[20, 0, 0, 0x9_fc00, 0, 1, 20, 0x10_0000, 0, 0, 1, 3]);
    m.put(0x1400, b"qemu\0");
    m
}

#[test]
fn version_1_is_read() {
    let told = parse(MAGIC_1, 0x1000, &version_1()).unwrap();
    assert_eq!(told.cmdline, "loglevel=info");
    assert_eq!(told.loader, "qemu");
    assert_eq!(
        told.modules,
        [File { start: 0x40_0000, end: 0x50_0000, cmdline: "console=ttyS1".into() }]
    );
    assert_eq!(told.memory.len(), 2);
    assert_eq!(told.memory[1].end, 0x1_0010_0000);
    assert_eq!(told.memory[1].kind, RegionKind::AcpiReclaim);
}

#[test]
fn version_1_damage_is_refused() {
    let mut m = version_1();
    m.words(0x1014, &[1000]);
    assert!(parse(MAGIC_1, 0x1000, &m).is_err());
    let mut m = version_1();
    m.words(0x102c, &[0xffff_ffff]);
    assert!(parse(MAGIC_1, 0x1000, &m).is_err());
    let mut m = version_1();
    m.words(0x1300, &[0xffff_fff0]);
    assert!(parse(MAGIC_1, 0x1000, &m).is_err(), "no entry can be read: no memory map");
    let mut m = version_1();
    m.words(0x1200, &[0x60_0000]);
    assert!(parse(MAGIC_1, 0x1000, &m).is_err());
    assert!(parse(MAGIC_1, 0x9_0000, &version_1()).is_err());
    assert!(parse(0, 0x1000, &version_1()).is_err());
}

fn version_2(tags: &[(u32, &[u8])]) -> Memory {
    let mut m = Memory::new();
    let mut at = 0x1008;
    for (kind, body) in tags {
        m.words(at, &[*kind, 8 + body.len() as u32]);
        m.put(at + 8, body);
        at += (8 + body.len() as u64).next_multiple_of(8);
    }
    m.words(at, &[0, 8]);
    m.words(0x1000, &[(at + 8 - 0x1000) as u32, 0]);
    m
}

const MAP: &[u8] = &[
    24, 0, 0, 0, 0, 0, 0, 0, // entry size, version
    0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
];

#[test]
fn version_2_is_read() {
    let module = [&[0, 0, 64, 0, 0, 0, 80, 0][..], b"a=/b c\0"].concat();
    let m = version_2(&[
        (1, b"loglevel=debug\0"),
        (2, b"GRUB\0"),
        (3, &module),
        (6, MAP),
        (12, &[0, 0, 0, 0, 1, 0, 0, 0]),
        (15, &[1; 36]),
        (14, &[2; 20]),
        (99, b"unknown"),
    ]);
    let told = parse(MAGIC_2, 0x1000, &m).unwrap();
    assert_eq!(told.cmdline, "loglevel=debug");
    assert_eq!(told.loader, "GRUB");
    assert_eq!(told.modules, [File { start: 0x40_0000, end: 0x50_0000, cmdline: "a=/b c".into() }]);
    assert_eq!(told.memory[0].end, 0x810_0000);
    assert_eq!(told.efi_system_table, 1 << 32);
    assert_eq!(told.rsdp.unwrap(), [1; 36]);
}

#[test]
fn version_2_damage_is_refused() {
    let mut m = version_2(&[(6, MAP)]);
    m.words(0x1000, &[4]);
    assert!(parse(MAGIC_2, 0x1000, &m).is_err());
    m.words(0x1000, &[0x10_0000]);
    assert!(parse(MAGIC_2, 0x1000, &m).is_err());
    // A tag that claims less than its own head, or more than there is.
    for size in [0, 4, 0x8000] {
        let mut m = version_2(&[(6, MAP)]);
        m.words(0x100c, &[size]);
        assert!(parse(MAGIC_2, 0x1000, &m).is_err());
    }
    let mut short = MAP.to_vec();
    short[0] = 8;
    assert!(parse(MAGIC_2, 0x1000, &version_2(&[(6, &short)])).is_err());
    assert!(parse(MAGIC_2, 0x1000, &version_2(&[(3, &[0; 4])])).is_err());
}
