// SPDX-License-Identifier: MIT OR Apache-2.0
//! VcpuSetContext refuses a state that no CPU could be in, field by field,
//! and never lets it come to a failed entry.

use hv_abi::Status;
use hv_abi::vcpu::{VcpuContext, segment};
use hv_guest::{Outcome, check_eq, ok};

use crate::child::{config, first_context};
use crate::host;

type Change = (&'static str, fn(&mut VcpuContext));

const WRONG: [Change; 34] = [
    ("cr0: PG without PE", |c| c.cr0 &= !1),
    ("cr0: NW without CD", |c| c.cr0 |= 1 << 29),
    ("cr0: reserved", |c| c.cr0 |= 1 << 32),
    ("cr3: beyond physical", |c| c.cr3 = 1 << 55),
    ("cr4: VMXE", |c| c.cr4 |= 1 << 13),
    ("cr4: LA57", |c| c.cr4 |= 1 << 12),
    ("cr4: reserved", |c| c.cr4 |= 1 << 40),
    ("cr4: long mode without PAE", |c| c.cr4 &= !(1 << 5)),
    ("efer: LMA without LME", |c| c.efer = 1 << 10),
    ("efer: LME without LMA", |c| c.efer = 1 << 8),
    ("efer: SVME", |c| c.efer |= 1 << 12),
    ("efer: reserved", |c| c.efer |= 1 << 33),
    ("rip: not canonical", |c| c.rip = 0x8000_0000_0000),
    ("rflags: bit 1", |c| c.rflags = 0),
    ("rflags: reserved", |c| c.rflags |= 1 << 22),
    ("rflags: VM", |c| c.rflags |= 1 << 17),
    ("pat: type 2", |c| c.pat = 2),
    ("dr6: upper half", |c| c.dr6 = 1 << 32),
    ("dr7: upper half", |c| c.dr7 = 1 << 32),
    ("xcr0: AVX without SSE", |c| c.xcr0 = 5),
    ("xcr0: reserved", |c| c.xcr0 = 1 << 62 | 1),
    ("lstar: not canonical", |c| c.syscall[1] = 1 << 63),
    ("gs: not canonical", |c| c.segments[segment::GS].base = 1 << 48),
    ("kernel gs: not canonical", |c| c.kernel_gs_base = 1 << 50),
    ("sysenter: not canonical", |c| c.sysenter[2] = 1 << 48),
    ("gdtr: not canonical", |c| c.gdtr.base = 1 << 48),
    ("idtr: limit", |c| c.idtr.limit = 0x1_0000),
    ("cs: not present", |c| c.segments[segment::CS].rights = 0),
    ("cs: a data segment", |c| c.segments[segment::CS].rights = 0xa092),
    ("cs: L and D", |c| c.segments[segment::CS].rights |= 1 << 14),
    ("tr: not present", |c| c.segments[segment::TR].rights = 0),
    ("tr: available", |c| c.segments[segment::TR].rights = 0x89),
    ("online", |c| c.online = 2),
    ("reserved", |c| c.reserved = 1),
];

/// The runner's part.
pub fn run() -> Outcome {
    let domain = ok!(host::create(&config("refused")));
    let good = first_context(run);
    for (name, change) in WRONG {
        let mut context = good;
        change(&mut context);
        check_eq!(host::set_context(domain, 0, &context), Err(Status::Invalid), "{name}");
    }
    check_eq!(host::set_context(domain, 0, &good), Ok(()));
    ok!(host::destroy(domain));
    Ok(())
}
