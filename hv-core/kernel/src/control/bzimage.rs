// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of a Linux bzImage (Linux, Documentation/arch/x86/boot.rst).

use zerocopy::FromBytes;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, KnownLayout};

/// Where the header begins, in the file and in the zero page.
pub const HEADER: usize = 0x1f1;
/// Bytes of the file that are looked at.
pub const LOOK: usize = 0x280;

/// The fields that matter here, from offset 0x1f1.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Raw {
    setup_sects: u8,
    _root_flags: U16,
    _syssize: U32,
    _ram_size: U16,
    _vid_mode: U16,
    _root_dev: U16,
    boot_flag: U16,
    jump: [u8; 2],
    magic: [u8; 4],
    version: U16,
    _to_alignment: [u8; 0x230 - 0x208],
    kernel_alignment: U32,
    relocatable: u8,
    _min_alignment: u8,
    xloadflags: U16,
    cmdline_size: U32,
    _to_pref: [u8; 0x258 - 0x23c],
    pref_address: U64,
    init_size: U32,
}
const _: () = assert!(HEADER + size_of::<Raw>() == 0x264);

/// A kernel that can be entered at 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Offset of what is loaded in the file.
    pub payload: usize,
    /// Bytes of the header to copy into the zero page.
    pub header: usize,
    /// Address it would like.
    pub preferred: u64,
    /// It runs elsewhere as well, at this alignment.
    pub alignment: Option<u64>,
    /// Memory it needs from its load address on.
    pub memory: u64,
    /// Longest command line it takes, without the final zero.
    pub cmdline: usize,
}

/// Reads the header; the error says why this is no kernel that can be used.
pub fn parse(start: &[u8], file: u64) -> Result<Image, &'static str> {
    let raw = start
        .get(HEADER..)
        .and_then(|bytes| Raw::ref_from_prefix(bytes).ok())
        .map(|(raw, _)| raw)
        .ok_or("the file is too short for a kernel")?;
    if raw.boot_flag.get() != 0xaa55 || &raw.magic != b"HdrS" {
        return Err("the file is no Linux bzImage (no \"HdrS\" in it)");
    }
    if raw.version.get() < 0x20c {
        return Err("the kernel is too old: boot protocol 2.12 is the least (Linux 3.8)");
    }
    if raw.xloadflags.get() & 1 == 0 {
        return Err("the kernel has no 64-bit entry (is it a 32-bit kernel?)");
    }
    let sectors = match raw.setup_sects {
        0 => 4,
        n => usize::from(n),
    };
    let payload = (sectors + 1) * 512;
    if payload as u64 >= file {
        return Err("the kernel is cut off: the file ends within its setup part");
    }
    let alignment = u64::from(raw.kernel_alignment.get());
    let usable = alignment.is_power_of_two() && alignment >= 4096;
    let header = 0x202 + usize::from(raw.jump[1]) - HEADER;
    Ok(Image {
        payload,
        header: header.min(LOOK - HEADER),
        preferred: raw.pref_address.get(),
        alignment: (raw.relocatable != 0 && usable).then_some(alignment),
        memory: u64::from(raw.init_size.get()).max(file - payload as u64),
        cmdline: raw.cmdline_size.get() as usize,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// A header as the tests' kernels have it.
    pub fn sample() -> Vec<u8> {
        let mut file = vec![0u8; 4096];
        file[0x1f1] = 1;
        file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        file[0x201] = 0x6a;
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        file[0x230..0x234].copy_from_slice(&0x20_0000u32.to_le_bytes());
        file[0x234] = 1;
        file[0x236] = 1;
        file[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
        file[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes());
        file[0x260..0x264].copy_from_slice(&0x10_0000u32.to_le_bytes());
        file
    }

    #[test]
    fn a_kernel_is_read_and_others_are_told_apart() {
        let file = sample();
        let image = parse(&file, 4096).unwrap();
        assert_eq!(image.payload, 1024);
        assert_eq!(image.preferred, 16 << 20);
        assert_eq!(image.alignment, Some(2 << 20));
        assert_eq!(image.memory, 1 << 20);
        assert_eq!(image.cmdline, 2047);
        assert!(parse(&file, 512).unwrap_err().contains("cut off"));
        assert!(parse(&file[..100], 100).unwrap_err().contains("too short"));
        let mut other = file.clone();
        other[0x202] = b'X';
        assert!(parse(&other, 4096).unwrap_err().contains("bzImage"));
        other = file.clone();
        other[0x236] = 0;
        assert!(parse(&other, 4096).unwrap_err().contains("64-bit"));
        other = file;
        other[0x206] = 0x0a;
        assert!(parse(&other, 4096).unwrap_err().contains("too old"));
    }
}
