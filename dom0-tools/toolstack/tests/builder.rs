// SPDX-License-Identifier: MIT OR Apache-2.0
//! The builder over the fake core: what it writes, what it refuses, and that
//! nothing is left wherever it fails.

use hv_abi::start::StartInfo;
use hv_abi::{DomainId, PAGE_SIZE};
use hv_client::fake::{FakeCore, bzimage};
use hv_client::{Calls, Core};
use hv_toolstack::builder::{BuildError, Step, build};
use hv_toolstack::bzimage::BzImage;
use hv_toolstack::spec::DomainSpec;
use hv_toolstack::{domain, file, layout};
use std::cell::Cell;
use std::path::Path;
use tempfile::TempDir;
use zerocopy::FromBytes;

const MIB: u64 = 1 << 20;
const UUID: [u8; 16] = *b"0123456789abcdef";

struct Bed {
    core: FakeCore,
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kernel"), bzimage(100_000)).unwrap();
        std::fs::write(dir.path().join("initrd"), vec![0x5a; 70_001]).unwrap();
        let core = FakeCore::new(512 * MIB);
        Self { core, dir }
    }

    fn spec(&self, overrides: &[&str]) -> DomainSpec {
        let text = "name = 'web'\nkernel = 'kernel'\ninitrd = 'initrd'\nmemory = '64M'\n";
        let path = self.dir.path().join("web.toml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        file::load(&path, &overrides).unwrap().spec
    }

    /// What is said when a domain cannot be built; nothing may be left.
    fn refused(&self, overrides: &[&str]) -> BuildError {
        let before = self.core.counters();
        let result = build(&self.core, &self.spec(overrides), UUID, &|| true);
        let Err(e) = result else { panic!("was built") };
        assert_eq!(self.core.counters(), before);
        e
    }

    fn read(&self, id: DomainId, gpa: u64, len: usize) -> Vec<u8> {
        self.core.guest_read(id, gpa, len).unwrap()
    }
}

#[test]
fn everything_is_where_the_kernel_looks_for_it() {
    let bed = Bed::new();
    let spec = bed.spec(&["cmdline=quiet", "vcpus=3", "cpu.affinity=1"]);
    let built = build(&bed.core, &spec, UUID, &|| true).unwrap();
    let ports = built.ports;
    let id = built.release();

    let context = bed.core.context(id, 0).unwrap();
    assert_eq!((context.rip, context.online), (16 * MIB + 0x200, 1));
    assert_eq!(bed.core.context(id, 1), None);
    assert_eq!(bed.core.vcpu_info(id, 2).unwrap().affinity, 0b10);

    let file = bzimage(100_000);
    assert_eq!(bed.read(id, 16 * MIB, 100_000), file[1024..]);
    let zero_page = bed.read(id, context.gpr[6], 4096);
    let u32_at = |at: usize| u32::from_le_bytes(zero_page[at..at + 4].try_into().unwrap());
    assert_eq!(zero_page[0x202..0x206], *b"HdrS");
    let initrd = u64::from(u32_at(0x218));
    assert_eq!(initrd, 64 * MIB - 18 * PAGE_SIZE);
    assert_eq!(u32_at(0x21c), 70_001);
    assert_eq!(bed.read(id, initrd, 70_001), vec![0x5a; 70_001]);
    let cmdline = bed.read(id, u32_at(0x228).into(), 20);
    assert_eq!(&cmdline, b"console=hvc0 quiet\0\0");

    // The memory map: usable, reserved, usable; the rings are in the reserved.
    assert_eq!(zero_page[0x1e8], 3);
    let entry = |n: usize| {
        let at = 0x2d0 + n * 20;
        let u64_at = |at: usize| u64::from_le_bytes(zero_page[at..at + 8].try_into().unwrap());
        (u64_at(at), u64_at(at + 8), u32_at(at + 16))
    };
    assert_eq!(entry(0), (0, 0x7_e000, 1));
    assert_eq!(entry(1), (0x7_e000, 0x2_2000, 2));
    assert_eq!(entry(2), (MIB, 63 * MIB, 1));

    let page = bed.read(id, layout::START_INFO, 128);
    let info = StartInfo::read_from_bytes(&page).unwrap();
    assert_eq!((info.magic, info.version), (hv_abi::start::MAGIC, 2));
    assert_eq!((info.console_gpa, info.console_port), (layout::CONSOLE, ports.console));
    let devices = (info.devices_gpa, info.devices, info.bus_port);
    assert_eq!(devices, (layout::DEVICES, 32, ports.bus));
    assert_eq!((info.vcpus, info.uuid), (3, UUID));
    assert_eq!(domain::text(&info.name), "web");
    let known = bed.core.domain_info(id).unwrap().unwrap();
    assert_eq!((domain::name(&known), known.uuid), ("web".into(), UUID));
    assert_eq!(domain::state_word(&known), "building");
    assert_eq!(known.pages, 64 * 256);
}

#[test]
fn large_memory_goes_around_the_hole() {
    let bed = Bed::new();
    let core = FakeCore::new(6 << 30);
    let spec = bed.spec(&["memory=5G"]);
    let id = build(&core, &spec, UUID, &|| true).unwrap().release();
    assert_eq!(core.domain_info(id).unwrap().unwrap().pages, 5 << 18);
    assert!(core.map(id, 0xfee0_0000, 4096).is_err());
    assert!(core.map(id, 0xfebf_f000, 4096).is_ok());
    assert!(core.map(id, 4 << 30, 4096).is_ok());
}

#[test]
fn a_domain_that_is_not_released_is_gone() {
    let bed = Bed::new();
    let before = bed.core.counters();
    drop(build(&bed.core, &bed.spec(&[]), UUID, &|| true).unwrap());
    assert_eq!(bed.core.counters(), before);
}

#[test]
fn a_failure_at_any_step_leaves_nothing() {
    let bed = Bed::new();
    let spec = bed.spec(&["vcpus=2", "cpu.affinity=0"]);
    let before = bed.core.counters();
    let mut steps = Vec::new();
    for n in 0.. {
        bed.core.fail_at(n);
        match build(&bed.core, &spec, UUID, &|| true) {
            Err(e) => {
                assert!(!e.cancelled);
                steps.push(e.step);
            }
            Ok(built) => {
                assert!(!bed.core.has_failed(), "a failure was ignored");
                drop(built);
                break;
            }
        }
        assert_eq!(bed.core.counters(), before, "after a failure at operation {n}");
    }
    steps.dedup();
    use Step::*;
    assert_eq!(steps, [Host, Create, Memory, Kernel, Initrd, Console, Boot, Vcpus]);
}

#[test]
fn a_cancellation_at_any_point_leaves_nothing() {
    let bed = Bed::new();
    let spec = bed.spec(&[]);
    let before = bed.core.counters();
    for n in 0.. {
        let asked = Cell::new(0);
        let keep_on = || {
            asked.set(asked.get() + 1);
            asked.get() <= n
        };
        let result = build(&bed.core, &spec, UUID, &keep_on);
        let done = match result {
            Ok(built) => {
                drop(built);
                true
            }
            Err(e) => {
                assert!(e.cancelled, "{e}");
                false
            }
        };
        assert_eq!(bed.core.counters(), before, "cancelled at question {n}");
        if done {
            assert!(n > 10, "it is asked often");
            break;
        }
    }
}

#[test]
fn fifty_rounds() {
    let bed = Bed::new();
    let before = bed.core.counters();
    for _ in 0..50 {
        let id = build(&bed.core, &bed.spec(&[]), UUID, &|| true).unwrap().release();
        bed.core.domain_unpause(id).unwrap();
        domain::destroy(&bed.core, id).unwrap();
    }
    assert_eq!(bed.core.counters(), before);
}

#[test]
fn refusals_say_which_key_and_why() {
    let bed = Bed::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = bed.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        format!("kernel={}", path.display())
    };
    let dir = bed.dir.path().display().to_string();
    let mut old = bzimage(64);
    old[0x206] = 0x0a;
    let mut bits32 = bzimage(64);
    bits32[0x236] = 0;
    let mut cut = bzimage(4096);
    cut.truncate(2000);
    let mut damaged = bzimage(64);
    damaged[0x201] = 1;
    let all = [
        bed.refused(&["kernel=/nonexistent/bzImage"]),
        bed.refused(&[&format!("kernel={dir}")]),
        bed.refused(&["initrd=/nonexistent/initrd"]),
        bed.refused(&[&file("empty", b"")]),
        bed.refused(&[&file("vmlinux", b"\x7fELF\x02\x01\x01")]),
        bed.refused(&[&file("script", b"#!/bin/sh\n")]),
        bed.refused(&[&file("zeros", &[0; 8192])]),
        bed.refused(&[&file("old", &old)]),
        bed.refused(&[&file("32", &bits32)]),
        bed.refused(&[&file("cut", &cut)]),
        bed.refused(&[&file("damaged", &damaged)]),
        bed.refused(&["memory=8M"]),
        bed.refused(&["memory=1G"]),
        bed.refused(&["cpu.affinity=0-2"]),
    ];
    let shown: Vec<String> = all
        .iter()
        .map(|e| {
            let hint = e.hint.as_deref().unwrap_or("-");
            format!("{}, {}: {e}\n  hint: {hint}", e.field.as_deref().unwrap_or("-"), e.step.text())
                .replace(&dir, "DIR")
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// A distribution's kernel, where there is one, is understood.
#[test]
fn real_kernels_are_understood() {
    let boot = std::fs::read_dir("/boot").into_iter().flatten().flatten();
    for entry in boot.filter(|e| e.file_name().to_string_lossy().starts_with("vmlinuz")) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let image = BzImage::parse(&bytes[..4096], bytes.len() as u64).unwrap();
        assert!(image.init_size > image.payload_len && image.preferred >= MIB);
    }
}

#[test]
fn no_header_makes_the_parser_panic() {
    let whole = bzimage(4096);
    for len in 0..1024 {
        let _ = BzImage::parse(&whole[..len], len as u64);
        let _ = BzImage::parse(&whole[..len], u64::MAX);
    }
    for at in 0x1f0..0x270 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(image) = BzImage::parse(&bytes, bytes.len() as u64) {
                let _ = layout::place(&image, u64::MAX / 2, 64 * MIB);
                let _ = layout::place(&image, 4096, 64 * MIB);
            }
        }
    }
}

#[test]
fn paths_are_not_needed_to_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let bed = Bed::new();
    let mut spec = bed.spec(&[]);
    spec.kernel = Path::new(std::ffi::OsStr::from_bytes(b"/nonexistent/\xff")).into();
    assert!(build(&bed.core, &spec, UUID, &|| true).is_err());
}
