// SPDX-License-Identifier: MIT OR Apache-2.0
//! Permission maps: which ports and MSRs a domain touches without an exit
//! (APM Vol. 2, 15.10, 15.11). A set bit intercepts.

use crate::vendor::regs::msr;

/// Bytes of the port map: three pages, as an access at the end of the port
/// space looks at bits behind it (15.10.1).
pub const PORT_BYTES: usize = 3 * 4096;
/// Bytes of the MSR map (15.11).
pub const MSR_BYTES: usize = 2 * 4096;

/// Ports of a UART.
const UART: u16 = 8;

/// Intercepts every port.
pub fn close_ports(map: &mut [u8]) {
    map.fill(0xff);
}

/// Opens every port, except those of a UART where one is to be hidden.
pub fn open_ports(map: &mut [u8], uart: Option<u16>) {
    map.fill(0);
    for port in uart.into_iter().flat_map(|first| first..=first.saturating_add(UART - 1)) {
        map[usize::from(port) / 8] |= 1 << (port % 8);
    }
}

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
    fn only_the_uart_is_hidden() {
        let mut map = [0xaa; PORT_BYTES];
        open_ports(&mut map, Some(0x3f8));
        let closed = |port: usize| map[port / 8] >> (port % 8) & 1 == 1;
        assert!((0..0x1_0000).all(|port| closed(port) == (0x3f8..0x400).contains(&port)));
        open_ports(&mut map, None);
        assert!(map.iter().all(|byte| *byte == 0));
        open_ports(&mut map, Some(0xffff));
        close_ports(&mut map);
        assert!(map.iter().all(|byte| *byte == 0xff));
    }

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
