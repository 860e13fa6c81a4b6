// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the door accepts, both vendors accept: a context that passes
//! [`context::check`] makes a control block and a VMCS that pass the checks
//! made at entry, and comes out of both as it went in.

use super::context::tests::{LIMITS, long_mode};
use super::context::{self, after_init, after_sipi};
use super::regs::{cr4, dr6, dr7, msr};
use super::svm::{self, layout::Vmcb};
use super::vmx;
use hv_abi::vcpu::VcpuContext;
use std::collections::BTreeMap;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Changes some bits, bytes or words of a context.
fn spoil(random: &mut Random, c: &VcpuContext) -> VcpuContext {
    let mut bytes = c.as_bytes().to_vec();
    for _ in 0..1 + random.next() % 4 {
        let at = (random.next() as usize >> 8) % (bytes.len() / 8) * 8;
        let value = match random.next() % 6 {
            0 => 0,
            1 => u64::MAX,
            2 => random.next(),
            3 => random.next() & 0xffff,
            // One bit of what is there.
            _ => {
                let mut old = [0; 8];
                old.copy_from_slice(&bytes[at..at + 8]);
                u64::from_le_bytes(old) ^ 1 << (random.next() % 64)
            }
        };
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    VcpuContext::read_from_bytes(&bytes).unwrap()
}

/// Without what neither the block nor the VMCS keeps as it was set: the
/// content of unusable segments, caching bits, what the door itself keeps.
fn essential(c: &VcpuContext) -> VcpuContext {
    let mut c = *c;
    for (index, s) in c.segments.iter_mut().enumerate() {
        let dpl = if index == hv_abi::vcpu::segment::SS { s.rights & 3 << 5 } else { 0 };
        *s = context::normal(index, *s);
        s.rights |= dpl;
    }
    c.cr0 &= !(3 << 29);
    (c.gpr, c.xcr0, c.tsc_aux, c.online, c.dr6) = ([0; 16], 0, 0, 0, dr6::RESET);
    c
}

fn through_svm(c: &VcpuContext) -> VcpuContext {
    let mut vmcb = Vmcb::new_zeroed();
    vmcb.control.intercept_misc2 = 1;
    vmcb.control.asid = 1;
    vmcb.control.nested = 1;
    svm::state::store(c, &mut vmcb.save);
    let cpu = svm::check::Cpu { physical_bits: 40, asids: 2, cr4: LIMITS.cr4, efer: LIMITS.efer };
    assert_eq!(svm::check::check(&vmcb, &cpu), Ok(()), "{c:x?}");
    svm::state::load(&vmcb.save)
}

fn through_vmx(c: &VcpuContext) -> VcpuContext {
    let owned =
        &vmx::state::Owned { cr0_fixed: 1 << 5, cr4_fixed: cr4::VMXE, cr4_allowed: LIMITS.cr4 };
    let mut fields = BTreeMap::new();
    vmx::state::store(c, owned, 0, &mut |field, value| {
        fields.insert(field, value);
    });
    let fields = vmx::check::tests::around(fields);
    let read = |field| fields.get(&field).copied().unwrap_or(0);
    let capabilities = &vmx::controls::tests::recent();
    let cpu = vmx::check::Cpu { capabilities, limits: &LIMITS };
    let snapshot = vmx::check::Snapshot { read: &read, tpr: 0 };
    assert_eq!(vmx::check::check(&cpu, &snapshot), Ok(()), "{c:x?}");
    let mut back = vmx::state::load(owned, &read);
    // What software switches.
    back.cr2 = c.cr2;
    back.syscall = c.syscall;
    back.kernel_gs_base = c.kernel_gs_base;
    back
}

#[test]
fn what_the_door_accepts_both_vendors_accept() {
    let seeds = [after_init(0), after_sipi(0, 0x9f), long_mode()];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..60_000 {
        let c = spoil(&mut random, &seeds[round % seeds.len()]);
        if context::check(&c, &LIMITS).is_err() {
            refused += 1;
            continue;
        }
        accepted += 1;
        assert_eq!(essential(&through_svm(&c)), essential(&c), "AMD-V");
        assert_eq!(essential(&through_vmx(&c)), essential(&c), "VT-x");
    }
    assert!(accepted > 5_000 && refused > 5_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn what_a_cpu_gives_the_door_accepts() {
    // Set, run for nothing, got, set again: what migration does.
    for c in [after_init(0), after_sipi(0, 0x12), long_mode()] {
        for mut back in [through_svm(&c), through_vmx(&c)] {
            (back.dr6, back.dr7) = (dr6::RESET, dr7::RESET);
            assert_eq!(context::check(&back, &LIMITS), Ok(()));
        }
    }
}

#[test]
fn open_registers_are_kept_somewhere() {
    let mut save = Vmcb::new_zeroed().save;
    for index in msr::OPEN {
        let elsewhere = matches!(index, msr::PAT | msr::TSC_AUX);
        assert!(elsewhere || svm::state::register(&mut save, index).is_some(), "{index:#x}");
    }
}
