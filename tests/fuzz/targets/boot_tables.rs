// SPDX-License-Identifier: MIT OR Apache-2.0
//! What loader and firmware leave in memory: both forms of multiboot's
//! information, ACPI's tables, the core's command line.
#![no_main]

use hv_hal::bootinfo::Physical;
use hv_kernel::options::Options;
use libfuzzer_sys::fuzz_target;

/// Memory from 0x1000 on.
struct Memory<'a>(&'a [u8]);

impl Physical for Memory<'_> {
    fn copy(&self, address: u64, out: &mut [u8]) -> bool {
        let at = address.checked_sub(0x1000).and_then(|at| usize::try_from(at).ok());
        let Some(end) = at.and_then(|at| at.checked_add(out.len())) else { return false };
        match self.0.get(end - out.len()..end) {
            Some(from) => {
                out.copy_from_slice(from);
                true
            }
            None => false,
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let memory = Memory(bytes);
    // Multiboot 1 and 2 (their specifications, "machine state").
    for magic in [0x2bad_b002, 0x36d7_6289] {
        let _ = hv_hal::multiboot::parse(magic, 0x1000, &memory);
    }
    if let Some(root) = hv_hal::acpi::read_root(&memory, 0x1000) {
        let _ = hv_hal::acpi::parse(&root, &memory);
    }
    let _ = hv_hal::acpi::root_from_efi(&memory, 0x1000);
    if let Ok(line) = core::str::from_utf8(bytes) {
        let _ = Options::parse(line, &mut |_| {});
    }
});
