// SPDX-License-Identifier: MIT OR Apache-2.0
//! Permission maps: which ports and MSRs a domain touches without an exit
//! (SDM Vol. 3, 25.6.4, 25.6.9). A set bit exits.

use crate::vendor::regs::msr;

/// Bytes of the port map: bitmaps A and B, a page each.
pub const PORT_BYTES: usize = 2 * 4096;
/// Bytes of the MSR map.
pub const MSR_BYTES: usize = 4096;

/// Ports of a UART.
const UART: u16 = 8;
/// Where the write halves of the MSR map begin.
const WRITE: usize = 2048;

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
        open(map, index, 0);
        open(map, index, WRITE);
    }
    open(map, msr::TSC, 0);
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
}
