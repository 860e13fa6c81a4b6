// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of a Linux bzImage (Documentation/arch/x86/boot.rst).
//!
//! Read from the first bytes of a file nobody vouches for: every field is
//! checked here, so that what uses a [`BzImage`] need not.

use std::fmt;

/// Bytes of a file that [`BzImage::parse`] wants to see.
pub const HEADER_BYTES: usize = 4096;
/// Offset of the setup header in the file and in the zero page.
pub const SETUP_HEADER: usize = 0x1f1;
/// Offset of the 64-bit entry point from where the kernel is loaded.
pub const ENTRY_64: u64 = 0x200;

/// Boot protocol 2.12 tells of a 64-bit entry point.
const VERSION_MIN: u16 = 0x020c;
const XLF_KERNEL_64: u16 = 1;

/// What the builder needs of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BzImage {
    /// Where the part to be loaded begins in the file.
    pub payload: u64,
    /// Its length.
    pub payload_len: u64,
    /// Address it wants to be loaded at.
    pub preferred: u64,
    /// Whether another address will do.
    pub relocatable: bool,
    /// To what other addresses are aligned.
    pub alignment: u64,
    /// Bytes it needs from its address on until it has a memory map.
    pub init_size: u64,
    /// The highest address an initrd's last byte may have.
    pub initrd_max: u64,
    /// The longest command line without its zero.
    pub cmdline_max: usize,
    /// The setup header, as it goes into the zero page.
    pub setup_header: Vec<u8>,
}

/// Why a file is no kernel that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotBootable {
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub hint: &'static str,
}

impl fmt::Display for NotBootable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for NotBootable {}

const WANT_BZIMAGE: &str = "name a bzImage: arch/x86/boot/bzImage of a kernel build, or a \
                            distribution's /boot/vmlinuz-*";

impl BzImage {
    /// Reads the header from the beginning of a file of `file_len` bytes.
    pub fn parse(head: &[u8], file_len: u64) -> Result<Self, NotBootable> {
        let no = |why: &str, hint| {
            let why = why.into();
            Err(NotBootable { why, hint })
        };
        let field = Fields(head);
        if file_len == 0 {
            return no("the file is empty", WANT_BZIMAGE);
        }
        if field.u16(0x1fe) != Some(0xaa55) || head.get(0x202..0x206) != Some(b"HdrS") {
            return no(&format!("not a Linux kernel but {}", looks_like(head)), WANT_BZIMAGE);
        }
        let version = field.u16(0x206).unwrap_or(0);
        if version < VERSION_MIN {
            let why =
                format!("boot protocol {}.{:02} has no 64-bit entry", version >> 8, version & 0xff);
            return no(&why, "the kernel is older than 3.8; use a newer one");
        }
        if field.u16(0x236).unwrap_or(0) & XLF_KERNEL_64 == 0 {
            return no("a 32-bit kernel", "use a kernel built for x86-64");
        }
        let damaged = || NotBootable {
            why: "the kernel's setup header is damaged".into(),
            hint: "copy or build the kernel again",
        };
        let sectors = match field.u8(SETUP_HEADER).ok_or_else(damaged)? {
            0 => 4,
            n => u64::from(n),
        };
        let payload = (sectors + 1) * 512;
        let paragraphs = u64::from(field.u32(0x1f4).ok_or_else(damaged)?);
        let payload_len = file_len.saturating_sub(payload);
        if payload_len == 0 || paragraphs * 16 > payload_len {
            let wanted = payload + paragraphs * 16;
            let why = format!("the kernel is cut off: {file_len} of {wanted} bytes are there");
            return no(&why, "copy or build the kernel again");
        }
        let alignment = u64::from(field.u32(0x230).ok_or_else(damaged)?).max(4096);
        let init_size = u64::from(field.u32(0x260).ok_or_else(damaged)?);
        let header_end = 0x202 + usize::from(field.u8(0x201).ok_or_else(damaged)?);
        let setup_header = head.get(SETUP_HEADER..header_end.min(0x290));
        if !alignment.is_power_of_two() || alignment > 1 << 30 {
            return Err(damaged());
        }
        Ok(Self {
            payload,
            payload_len,
            preferred: field.u64(0x258).ok_or_else(damaged)?,
            relocatable: field.u8(0x234).ok_or_else(damaged)? != 0,
            alignment,
            init_size: init_size.max(payload_len),
            initrd_max: field.u32(0x22c).ok_or_else(damaged)?.into(),
            cmdline_max: field.u32(0x238).ok_or_else(damaged)? as usize,
            setup_header: setup_header
                .filter(|header| header.len() >= 0x264 - SETUP_HEADER)
                .ok_or_else(damaged)?
                .to_vec(),
        })
    }
}

/// What a file is that is no bzImage, as far as its beginning tells.
fn looks_like(head: &[u8]) -> &'static str {
    let magics: &[(&[u8], &str)] = &[
        (b"\x7fELF", "an ELF file (a vmlinux?)"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\xfd7zXZ", "an xz file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"070701", "a cpio archive (an initrd?)"),
        (b"QFI\xfb", "a qcow2 disk image"),
        (b"#!", "a script"),
    ];
    magics
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map_or("something else", |(_, name)| name)
}

/// Little-endian fields of a byte string that may be too short for them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}
