// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map of ports, which has one form for both vendors: a bit for each port,
//! in order; a set bit exits (APM Vol. 2, 15.10.1; SDM Vol. 3, 25.6.4). VT-x is
//! told of its two halves, bitmaps A and B, one by one.

/// Bytes of the map: two pages of bits, and a third for AMD-V, where an access
/// at the end of the port space looks at bits behind it.
pub const BYTES: usize = 3 * 4096;
/// Where the half with port 8000h and the following begins.
pub const SECOND_HALF: u64 = 4096;

/// Ports of a UART.
const UART: u16 = 8;

/// Intercepts every port.
pub fn close(map: &mut [u8]) {
    map.fill(0xff);
}

/// Opens every port, except those of a UART where one is to be hidden.
pub fn open(map: &mut [u8], uart: Option<u16>) {
    map.fill(0);
    for port in uart.into_iter().flat_map(|first| first..=first.saturating_add(UART - 1)) {
        map[usize::from(port) / 8] |= 1 << (port % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_uart_is_hidden() {
        let mut map = [0xaa; BYTES];
        open(&mut map, Some(0x3f8));
        let closed = |port: usize| map[port / 8] >> (port % 8) & 1 == 1;
        assert!((0..0x1_0000).all(|port| closed(port) == (0x3f8..0x400).contains(&port)));
        open(&mut map, None);
        assert!(map.iter().all(|byte| *byte == 0));
        open(&mut map, Some(0xffff));
        close(&mut map);
        assert!(map.iter().all(|byte| *byte == 0xff));
    }
}
