// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wraps a micro-guest as a bzImage, so that the core loads it as its
//! control domain by the ordinary Linux 64-bit boot protocol
//! (Documentation/arch/x86/boot.rst in the kernel's source).
//!
//! The flat image becomes the protected-mode part. It is not relocatable, is
//! wanted at its link address, and is entered 0x200 bytes into it.

use anyhow::{Result, bail};

use crate::flat::Flat;

/// Where the 64-bit entry point lies in the protected-mode part.
const ENTRY: u64 = 0x200;
/// Boot sector and one setup sector.
const SETUP: usize = 1024;

/// A bzImage around `flat`.
pub fn wrap(flat: &Flat) -> Result<Vec<u8>> {
    if flat.entry != flat.load && flat.entry != flat.load + ENTRY {
        bail!(
            "the entry point {:#x} must be {ENTRY:#x} bytes behind the load address {:#x}, or it",
            flat.entry,
            flat.load
        );
    }
    let Ok(load) = u32::try_from(flat.load) else {
        bail!("the load address {:#x} must lie below 4 GiB", flat.load);
    };
    let mut out = vec![0; SETUP];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let paragraphs = flat.bytes.len().div_ceil(16) as u32;
    put(0x1f1, &[1]); // setup_sects
    put(0x1f4, &paragraphs.to_le_bytes()); // syssize
    put(0x1fe, &[0x55, 0xaa]); // boot_flag
    put(0x200, &[0xeb, 0x6a]); // jump over the header, whose end it tells
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes()); // version 2.15
    put(0x211, &[1]); // loadflags: LOADED_HIGH
    put(0x214, &load.to_le_bytes()); // code32_start
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes()); // initrd_addr_max
    put(0x230, &0x20_0000_u32.to_le_bytes()); // kernel_alignment
    put(0x234, &[0]); // relocatable_kernel: no
    put(0x236, &1_u16.to_le_bytes()); // xloadflags: XLF_KERNEL_64
    put(0x238, &2047_u32.to_le_bytes()); // cmdline_size
    put(0x258, &flat.load.to_le_bytes()); // pref_address
    put(0x260, &(flat.memory as u32).to_le_bytes()); // init_size
    out.extend_from_slice(&flat.bytes);
    out.resize(SETUP + paragraphs as usize * 16, 0);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_are_where_the_protocol_puts_them() {
        let flat =
            Flat { load: 0x100_0000, entry: 0x100_0200, bytes: vec![7; 0x301], memory: 0x2000 };
        let image = wrap(&flat).unwrap();
        assert_eq!(image.len(), 1024 + 0x310);
        assert_eq!(&image[0x202..0x206], b"HdrS");
        assert_eq!(image[0x1f4], 0x31);
        assert_eq!(&image[0x258..0x260], &0x100_0000_u64.to_le_bytes());
        assert_eq!(&image[0x260..0x264], &0x2000_u32.to_le_bytes());
        assert_eq!(image[1024], 7);
    }

    #[test]
    fn a_wrong_entry_point_is_named() {
        let flat = Flat { load: 0, entry: 0x100, bytes: vec![], memory: 1 };
        assert!(wrap(&flat).unwrap_err().to_string().contains("0x100"));
    }
}
