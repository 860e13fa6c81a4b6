// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables that map the first 512 GiB one to one, open to user mode: 4 GiB
//! in 2 MiB pages, the rest, where only the runner of a large machine looks,
//! in 1 GiB pages (SDM Vol. 3, 5.5). Runner and children use the same
//! addresses, so the tables of one are right for all.

/// Bytes that are mapped.
pub const MAPPED: u64 = 512 << 30;
/// Tables: root, pointer table, four directories.
pub const TABLES: usize = 6;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;

/// The tables, root first.
#[repr(C, align(4096))]
pub struct Tables(pub [[u64; 512]; TABLES]);

impl Tables {
    /// Without any mapping.
    pub const fn empty() -> Self {
        Self([[0; 512]; TABLES])
    }

    /// Fills the tables for use at the address `at`.
    pub fn fill(&mut self, at: u64) {
        let [root, pointers, directories @ ..] = &mut self.0;
        let table = |n: u64| (at + n * 4096) | PRESENT | WRITABLE | USER;
        root[0] = table(1);
        for (i, entry) in (0u64..).zip(pointers.iter_mut()) {
            *entry = match i {
                0..4 => table(2 + i),
                _ => i << 30 | PRESENT | WRITABLE | USER | LARGE,
            };
        }
        for (i, entry) in (0u64..).zip(directories.iter_mut().flatten()) {
            *entry = i << 21 | PRESENT | WRITABLE | USER | LARGE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(tables: &Tables, base: u64, address: u64) -> u64 {
        let mut entry = base | 1;
        for shift in [39, 30, 21] {
            if entry & LARGE != 0 {
                return (entry & !0x3fff_ffff) | address & 0x3fff_ffff;
            }
            let table = (entry & !0xfff) - base;
            entry = tables.0[(table / 4096) as usize][(address >> shift & 511) as usize];
            assert!(entry & PRESENT != 0);
        }
        (entry & !0x1f_ffff) | address & 0x1f_ffff
    }

    #[test]
    fn addresses_map_to_themselves() {
        let mut tables = std::boxed::Box::new(Tables::empty());
        tables.fill(0x123_4000);
        for address in
            [0, 0x1000, 0x20_0000, 0x3fff_ffff, 0x4000_0000, 0xffff_ffff, 1 << 32, MAPPED - 1]
        {
            assert_eq!(walk(&tables, 0x123_4000, address), address);
        }
    }
}
