// SPDX-License-Identifier: MIT OR Apache-2.0
//! Synthetic tables, whole and damaged.

use super::*;
use std::collections::BTreeMap;

/// Pieces of memory by address.
#[derive(Default)]
struct Memory(BTreeMap<u64, Vec<u8>>);

impl Physical for Memory {
    fn copy(&self, address: u64, out: &mut [u8]) -> bool {
        let Some((start, piece)) = self.0.range(..=address).next_back() else { return false };
        let at = (address - start) as usize;
        let Some(from) = piece.get(at..at + out.len()) else { return false };
        out.copy_from_slice(from);
        true
    }
}

fn sealed(mut bytes: Vec<u8>, sum_at: usize) -> Vec<u8> {
    bytes[sum_at] = 0;
    bytes[sum_at] = 0u8.wrapping_sub(sum(&bytes));
    bytes
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut t = vec![0; 36];
    t[..4].copy_from_slice(signature);
    t.extend_from_slice(body);
    let len = t.len() as u32;
    t[4..8].copy_from_slice(&len.to_le_bytes());
    sealed(t, 9)
}

fn root(rsdt: u32, xsdt: u64) -> Vec<u8> {
    let mut r = vec![0; 36];
    r[..8].copy_from_slice(b"RSD PTR ");
    r[15] = if xsdt == 0 { 0 } else { 2 };
    r[16..20].copy_from_slice(&rsdt.to_le_bytes());
    r[20] = 36;
    r[24..32].copy_from_slice(&xsdt.to_le_bytes());
    let first = sealed(r[..20].to_vec(), 8);
    r[..20].copy_from_slice(&first);
    sealed(r, 32)
}

fn madt_table() -> Vec<u8> {
    let mut body = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
    body.extend([0, 8, 0, 0, 1, 0, 0, 0]); // CPU 0
    body.extend([0, 8, 1, 2, 1, 0, 0, 0]); // CPU 2
    body.extend([0, 8, 2, 4, 0, 0, 0, 0]); // CPU 4, disabled
    body.extend([0, 8, 3, 255, 0, 0, 0, 0]); // padding as firmware does it
    body.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]); // CPU 256
    body.extend([9, 16, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]); // CPU 2 again
    body.extend([4, 6, 255, 0, 0, 1]);
    body.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    table(b"APIC", &body)
}

fn fadt_table() -> Vec<u8> {
    let mut t = vec![0; 244 - 36];
    t[76 - 36..80 - 36].copy_from_slice(&0x608u32.to_le_bytes());
    t[91 - 36] = 4;
    t[112 - 36..116 - 36].copy_from_slice(&(1u32 << 8 | 1 << 10).to_le_bytes());
    t[116 - 36] = 1;
    t[120 - 36..128 - 36].copy_from_slice(&0xcf9u64.to_le_bytes());
    t[128 - 36] = 0xf;
    table(b"FACP", &t)
}

fn hpet_table() -> Vec<u8> {
    let mut body = vec![0; 20];
    body[8..16].copy_from_slice(&0xfed0_0000u64.to_le_bytes());
    table(b"HPET", &body)
}

fn machine() -> Memory {
    let mut m = Memory::default();
    let mut list = Vec::new();
    for address in [0x4_0000u64, 0x5_0000, 0x6_0000, 0x7_0000] {
        list.extend(address.to_le_bytes());
    }
    m.0.insert(0x2_0000, root(0, 0x3_0000));
    m.0.insert(0x3_0000, table(b"XSDT", &list));
    m.0.insert(0x4_0000, madt_table());
    m.0.insert(0x5_0000, fadt_table());
    m.0.insert(0x6_0000, hpet_table());
    m.0.insert(0x7_0000, table(b"MCFG", &[0; 24]));
    m
}

#[test]
fn everything_is_found() {
    let memory = machine();
    let root = read_root(&memory, 0x2_0000).unwrap();
    let m = parse(&root, &memory).unwrap();
    let ids: Vec<_> = m.processors.iter().map(|p| (p.apic_id, p.enabled)).collect();
    assert_eq!(ids, [(0, true), (2, true), (4, false), (256, true)]);
    assert_eq!(m.local_apic, 0xfee0_0000);
    assert_eq!(m.nmi_input, Some(1));
    assert_eq!(m.pm_timer, Some(PmTimer { port: 0x608, wide: true }));
    assert_eq!(m.hpet, Some(0xfed0_0000));
    assert_eq!(m.reset, Some((0xcf9, 0xf)));
    assert!(m.notes.is_empty());
}

#[test]
fn version_1_goes_by_the_short_list() {
    let mut memory = machine();
    memory.0.insert(0x3_0000, table(b"RSDT", &0x4_0000u32.to_le_bytes()));
    let m = parse(&root(0x3_0000, 0), &memory).unwrap();
    assert_eq!(m.processors.len(), 4);
    assert_eq!(m.hpet, None);
}

#[test]
fn a_damaged_table_is_left_out_with_a_note() {
    let memory = machine();
    let whole = madt_table();
    for at in 0..whole.len() {
        let mut damaged = machine();
        damaged.0.get_mut(&0x4_0000).unwrap()[at] ^= 0x55;
        let m = parse(&root(0, 0x3_0000), &damaged).unwrap();
        assert!(m.processors.is_empty(), "byte {at}");
        assert!(m.hpet.is_some());
    }
    assert!(parse(&root(0, 0x9_9999), &memory).is_err());
    assert!(parse(&root(0, 0x4_0000), &memory).is_err(), "not a root table");
    let mut bad = root(0, 0x3_0000);
    bad[33] ^= 1;
    assert!(parse(&bad, &memory).is_err());
    assert!(parse(&bad[..10], &memory).is_err());
}

#[test]
fn entries_with_impossible_lengths_end_the_list() {
    for len in [0, 1, 200] {
        let mut body = vec![0; 8];
        body.extend([0, 8, 0, 0, 1, 0, 0, 0]);
        body.extend([0, len, 1, 1, 1, 0, 0, 0]);
        let mut memory = machine();
        memory.0.insert(0x4_0000, table(b"APIC", &body));
        let m = parse(&root(0, 0x3_0000), &memory).unwrap();
        assert_eq!(m.processors.len(), 1);
        assert_eq!(m.notes.len(), 1);
    }
    // Shorter than its kind needs: skipped, nothing read behind it.
    for kind in 0..=255 {
        let mut memory = machine();
        memory.0.insert(0x4_0000, table(b"APIC", &[0, 0, 0, 0, 0, 0, 0, 0, kind, 2]));
        assert!(parse(&root(0, 0x3_0000), &memory).unwrap().processors.is_empty());
    }
}

#[test]
fn cut_tables_give_what_they_hold() {
    for len in 36..244 {
        let mut memory = machine();
        let body = fadt_table()[36..len].to_vec();
        memory.0.insert(0x5_0000, table(b"FACP", &body));
        memory.0.insert(0x6_0000, table(b"HPET", &hpet_table()[36..len.min(56)]));
        let m = parse(&root(0, 0x3_0000), &memory).unwrap();
        assert_eq!(m.pm_timer.is_some(), len >= 92, "{len}");
    }
}

#[test]
fn the_root_is_found_by_scan_and_through_efi() {
    let mut memory = Memory::default();
    memory.0.insert(0xe_0000, vec![0; 0x2_0000]);
    assert_eq!(scan_for_root(&memory), None);
    let piece = memory.0.get_mut(&0xe_0000).unwrap();
    piece[0x100..0x108].copy_from_slice(b"RSD PTR "); // a decoy, no checksum
    piece[0x1230..0x1254].copy_from_slice(&root(0, 0x3_0000));
    assert_eq!(scan_for_root(&memory), Some(0xe_1230));

    let mut system = vec![0; 120];
    system[..8].copy_from_slice(b"IBI SYST");
    system[104] = 2;
    system[112..120].copy_from_slice(&0x20_0000u64.to_le_bytes());
    let mut list = vec![0; 48];
    list[24..40].copy_from_slice(&[
        0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0, 0x80, 0xc7, 0x3c, 0x88, 0x81,
    ]);
    list[40..48].copy_from_slice(&0xe_1230u64.to_le_bytes());
    memory.0.insert(0x10_0000, system);
    memory.0.insert(0x20_0000, list);
    assert_eq!(root_from_efi(&memory, 0x10_0000), Some(0xe_1230));
    assert_eq!(root_from_efi(&memory, 0), None);
    assert_eq!(root_from_efi(&memory, 0x20_0000), None);
}
