// SPDX-License-Identifier: MIT OR Apache-2.0
//! The permission map of MSRs: which a domain touches without an exit (APM
//! Vol. 2, 15.11). A set bit intercepts.

use crate::vendor::regs::msr;

/// Bytes of the MSR map (15.11).
pub const MSR_BYTES: usize = 2 * 4096;

/// Intercepts every MSR but the open ones, and writes to the TSC.
pub fn fill_msrs(map: &mut [u8]) {
    map.fill(0xff);
    for index in msr::OPEN {
        open(map, index, 3);
    }
    open(map, msr::TSC, 1);
}

/// Clears the read (1) and write (2) bits of an MSR. The three ranges of the
/// map hold 8192 MSRs each (15.11); no other MSR can be opened.
fn open(map: &mut [u8], index: u32, bits: u8) {
    let block = match index >> 13 {
        0 => 0,
        0x6_0000 => 0x800,
        0x6_0080 => 0x1000,
        _ => return,
    };
    let index = (index & 0x1fff) as usize;
    map[block + index / 4] &= !(bits << (index % 4 * 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_registers_are_open() {
        let mut map = [0; MSR_BYTES];
        fill_msrs(&mut map);
        let bits = |index: u32| {
            let block = [(0, 0), (0xc000_0000, 0x800), (0xc001_0000, 0x1000)];
            let (first, at) = block.into_iter().rfind(|b| b.0 <= index).unwrap();
            let n = (index - first) as usize;
            map[at + n / 4] >> (n % 4 * 2) & 3
        };
        assert_eq!(bits(msr::TSC), 2);
        let mut open = 0;
        for first in [0, 0xc000_0000, 0xc001_0000] {
            for index in first..first + 0x2000 {
                if bits(index) == 0 {
                    assert!(msr::OPEN.contains(&index), "{index:#x}");
                    open += 1;
                }
            }
        }
        assert_eq!(open, msr::OPEN.len());
        assert_eq!(bits(msr::EFER), 3);
    }
}
