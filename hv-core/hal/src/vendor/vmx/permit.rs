// SPDX-License-Identifier: MIT OR Apache-2.0
//! The permission map of MSRs: which a domain touches without an exit (SDM
//! Vol. 3, 25.6.9). A set bit exits.

use super::layout::register;
use crate::assist::Assist;
use crate::vendor::regs::msr;

/// Bytes of the MSR map.
pub const MSR_BYTES: usize = 4096;
/// Where the write halves of the MSR map begin.
const WRITE: usize = 2048;
/// x2APIC registers begin at this MSR.
const X2APIC: u32 = 0x800;

/// Intercepts every MSR but the open ones, and writes to the TSC. Of the APIC's
/// those are open that the CPU virtualizes (30.5): any other would be the
/// machine's own.
pub fn fill_msrs(map: &mut [u8], assist: Assist) {
    map.fill(0xff);
    for index in msr::OPEN {
        open(map, index, 0);
        open(map, index, WRITE);
    }
    open(map, msr::TSC, 0);
    if assist.registers {
        let shown = [
            register::ID,
            register::VERSION,
            register::TPR,
            register::LDR,
            register::SPURIOUS,
            register::ERROR,
            register::LVT_CMCI,
            register::COMMAND,
            register::DIVIDE,
        ];
        for n in shown.into_iter().chain(register::LVT_TIMER..=register::INITIAL_COUNT) {
            open(map, X2APIC + n, 0);
        }
        open(map, X2APIC + register::TPR, WRITE);
    }
    if assist.delivery {
        // The CPU keeps them.
        open(map, X2APIC + register::PPR, 0);
        for n in register::IN_SERVICE..register::REQUESTED + 8 {
            open(map, X2APIC + n, 0);
        }
        open(map, X2APIC + register::EOI, WRITE);
        open(map, X2APIC + register::SELF_IPI, WRITE);
    }
}

/// Clears a bit. The two ranges of the map hold 8192 MSRs each, at 0 and at
/// C000_0000; no other MSR can be opened.
fn open(map: &mut [u8], index: u32, half: usize) {
    let block = match index >> 13 {
        0 => 0,
        0x6_0000 => 1024,
        _ => return,
    };
    let index = (index & 0x1fff) as usize;
    map[half + block + index / 8] &= !(1 << (index % 8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_registers_are_open() {
        let mut map = [0; MSR_BYTES];
        fill_msrs(&mut map, Assist::NONE);
        let bits = |index: u32| {
            let block = if index >= 0xc000_0000 { 1024 } else { 0 };
            let n = (index & 0x1fff) as usize;
            let bit = |half: usize| map[half + block + n / 8] >> (n % 8) & 1;
            (bit(0), bit(WRITE))
        };
        assert_eq!(bits(msr::TSC), (0, 1));
        assert_eq!(bits(msr::EFER), (1, 1));
        let mut open = 0;
        for first in [0, 0xc000_0000] {
            for index in first..first + 0x2000 {
                if bits(index) == (0, 0) {
                    assert!(msr::OPEN.contains(&index), "{index:#x}");
                    open += 1;
                }
            }
        }
        assert_eq!(open, msr::OPEN.len());
    }

    #[test]
    fn the_apic_is_as_open_as_the_cpu_virtualizes_it() {
        let mut map = [0; MSR_BYTES];
        let bits = |map: &[u8], n: u32| {
            let n = (X2APIC + n) as usize;
            let bit = |half: usize| map[half + n / 8] >> (n % 8) & 1;
            (bit(0), bit(WRITE))
        };
        fill_msrs(&mut map, Assist { tpr: true, ..Assist::NONE });
        assert!((0..0x100).all(|n| bits(&map, n) == (1, 1)), "TPR shadow means CR8 only");
        fill_msrs(&mut map, Assist { delivery: false, posting: false, ..Assist::ALL });
        assert_eq!(bits(&map, register::TPR), (0, 0));
        assert_eq!(bits(&map, register::ID), (0, 1));
        assert_eq!(bits(&map, register::COMMAND), (0, 1), "an IPI is the core's to send");
        assert_eq!(bits(&map, register::EOI), (1, 1));
        assert_eq!(bits(&map, register::REQUESTED), (1, 1));
        assert_eq!(bits(&map, 0x39), (1, 1), "the count runs");
        fill_msrs(&mut map, Assist::ALL);
        assert_eq!(bits(&map, register::EOI), (1, 0));
        assert_eq!(bits(&map, register::SELF_IPI), (1, 0));
        assert_eq!(bits(&map, register::REQUESTED + 7), (0, 1));
        let open = (0..0x100).filter(|n| bits(&map, *n).1 == 0).count();
        assert_eq!(open, 3, "TPR, EOI, self-IPI");
    }
}
