// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that passes for a Linux kernel: header and a patterned payload.

/// A bzImage of boot protocol 2.15 with `payload` bytes of payload, relocatable
/// and wanting 8 MiB at 16 MiB.
pub fn bzimage(payload: usize) -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]); // one setup sector
    put(0x1f4, &(payload as u32 / 16).to_le_bytes());
    put(0x1fe, &0xaa55u16.to_le_bytes());
    put(0x200, &[0xeb, 0x6a]); // the header ends at 0x26c
    put(0x202, b"HdrS");
    put(0x206, &0x020fu16.to_le_bytes());
    put(0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(0x230, &0x0020_0000u32.to_le_bytes());
    put(0x234, &[1, 21]);
    put(0x236, &1u16.to_le_bytes());
    put(0x238, &2047u32.to_le_bytes());
    put(0x258, &0x0100_0000u64.to_le_bytes());
    put(0x260, &0x0080_0000u32.to_le_bytes());
    file.extend((0..payload).map(|i| (i / 7) as u8));
    file
}
