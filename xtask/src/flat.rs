// SPDX-License-Identifier: MIT OR Apache-2.0
//! ELF → flat image by physical address.
//!
//! The core is linked high and loaded low; boot loaders that know only flat
//! images (Multiboot 1 with address fields) want the bytes as they lie in
//! physical memory: segment data at `p_paddr` minus the lowest `p_paddr`,
//! gaps filled with zeros. Zero-filled tails (bss) are not stored: the
//! multiboot headers name the end of bss and the loader clears it.

use anyhow::{Context, Result, bail};
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, elf};

/// A flat image and where its first byte belongs.
#[derive(Debug)]
pub struct Flat {
    /// Physical address of `bytes[0]`.
    pub load: u64,
    /// The entry point, as linked.
    pub entry: u64,
    /// The bytes as they lie in memory.
    pub bytes: Vec<u8>,
    /// Memory from `load` to the end of bss.
    pub memory: u64,
}

/// More than this between two segments is a linker script gone wrong.
const LARGEST: u64 = 64 << 20;

/// Flattens an ELF64 file.
pub fn flatten(data: &[u8]) -> Result<Flat> {
    let header = FileHeader64::<LittleEndian>::parse(data).context("not an ELF64 file")?;
    let endian = LittleEndian;
    if header.e_machine(endian) != elf::EM_X86_64 {
        bail!("not an x86-64 ELF file");
    }
    let mut segments = Vec::new();
    for ph in header.program_headers(endian, data).context("bad program headers")? {
        if ph.p_type(endian) == PT_LOAD && ph.p_memsz(endian) > 0 {
            let content = ph.data(endian, data).ok().context("a segment lies outside the file")?;
            segments.push((ph.p_paddr(endian), content, ph.p_memsz(endian)));
        }
    }
    let load = segments.iter().map(|s| s.0).min().context("no loadable segment")?;
    let mut bytes = Vec::new();
    let mut memory = 0;
    for (at, content, memsz) in segments {
        let offset = at - load;
        memory = memory.max(offset.saturating_add(memsz));
        if memory > LARGEST {
            bail!("physical addresses span {memory:#x} bytes from {load:#x}: check p_paddr");
        }
        let offset = offset as usize;
        let end = offset + content.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if let Some(place) = bytes.get_mut(offset..end) {
            place.copy_from_slice(content);
        }
    }
    Ok(Flat { load, entry: header.e_entry(endian), bytes, memory })
}

/// Little ELF files for tests.
#[cfg(test)]
pub mod testing {
    /// An ELF64 with the given `(paddr, data, memsz)` segments.
    pub fn elf(entry: u64, segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let u16 = |o: &mut Vec<u8>, v: u16| o.extend(v.to_le_bytes());
        let u32 = |o: &mut Vec<u8>, v: u32| o.extend(v.to_le_bytes());
        let u64 = |o: &mut Vec<u8>, v: u64| o.extend(v.to_le_bytes());
        u16(&mut out, 2);
        u16(&mut out, 62);
        u32(&mut out, 1);
        u64(&mut out, entry);
        u64(&mut out, 64);
        u64(&mut out, 0);
        u32(&mut out, 0);
        for v in [64, 56, segments.len() as u16, 64, 0, 0] {
            u16(&mut out, v);
        }
        let mut at = 64 + 56 * segments.len() as u64;
        for (paddr, data, memsz) in segments {
            u32(&mut out, 1);
            u32(&mut out, 5);
            let high = paddr.wrapping_add(0xffff_ffff_8000_0000);
            for v in [at, high, *paddr, data.len() as u64, *memsz, 1] {
                u64(&mut out, v);
            }
            at += data.len() as u64;
        }
        for (_, data, _) in segments {
            out.extend_from_slice(data);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_land_at_their_physical_place() {
        let file = testing::elf(7, &[(0x20_0004, b"cd", 100), (0x20_0000, b"ab", 2)]);
        let flat = flatten(&file).unwrap();
        assert_eq!((flat.load, flat.entry, flat.memory), (0x20_0000, 7, 104));
        assert_eq!(flat.bytes, b"ab\0\0cd");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(flatten(b"#!/bin/sh").is_err());
        assert!(flatten(&testing::elf(0, &[])).is_err());
        let far = testing::elf(0, &[(0, b"a", 1), (1 << 40, b"b", 1)]);
        assert!(flatten(&far).unwrap_err().to_string().contains("p_paddr"));
    }
}
