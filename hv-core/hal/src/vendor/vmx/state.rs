// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's registers in the VMCS, to and from a [`VcpuContext`]: all but
//! general registers (rsp excepted) and those that are switched by software.
//! Fields are read and written through closures, so that a table stands in
//! for the VMCS on a host.

use hv_abi::vcpu::{Segment, Table, VcpuContext, segment};

use super::layout::{UNUSABLE, entry, field};
use crate::exit::gpr::RSP;
use crate::vendor::context::{PRESENT, normal};
use crate::vendor::regs::{cr0, cr4, efer, msr};

/// Bits of CR0 and CR4 that the guest does not own: it sees the shadow's
/// (SDM Vol. 3, 25.6.6).
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    /// Bits of CR0 that must be 1 in VMX operation, PE and PG excepted.
    pub cr0_fixed: u64,
    /// Bits of CR4 that must be 1.
    pub cr4_fixed: u64,
    /// CR4 bits that a guest may set.
    pub cr4_allowed: u64,
}

impl Owned {
    /// CD and NW would turn off this CPU's caches, whatever EPT says
    /// (29.3.7).
    pub fn cr0_mask(&self) -> u64 {
        self.cr0_fixed | cr0::CD | cr0::NW
    }

    /// A machine check while CR4.MCE is 0 would stop the machine.
    pub fn cr4_mask(&self) -> u64 {
        !self.cr4_allowed | self.cr4_fixed | cr4::MCE
    }

    /// What the register really holds when the guest wants `value`.
    pub fn real_cr0(&self, value: u64) -> u64 {
        value & !(cr0::CD | cr0::NW) | self.cr0_fixed
    }

    /// The same for CR4.
    pub fn real_cr4(&self, value: u64) -> u64 {
        value | self.cr4_fixed | cr4::MCE
    }
}

fn seen(real: u64, shadow: u64, mask: u64) -> u64 {
    real & !mask | shadow & mask
}

/// The four fields of a segment register.
fn at(first: u32, index: usize) -> u32 {
    first + 2 * index as u32
}

/// Writes a checked context. `entry`: the entry controls without the bit that
/// tells the guest's mode.
pub fn store(c: &VcpuContext, owned: &Owned, entry: u32, write: &mut dyn FnMut(u32, u64)) {
    write(field::GUEST_RSP, c.gpr[RSP]);
    write(field::GUEST_RIP, c.rip);
    write(field::GUEST_RFLAGS, c.rflags);
    write(field::GUEST_CR0, owned.real_cr0(c.cr0));
    write(field::CR0_SHADOW, c.cr0);
    write(field::CR0_MASK, owned.cr0_mask());
    write(field::GUEST_CR3, c.cr3);
    write(field::GUEST_CR4, owned.real_cr4(c.cr4));
    write(field::CR4_SHADOW, c.cr4);
    write(field::CR4_MASK, owned.cr4_mask());
    write(field::GUEST_EFER, c.efer);
    write(field::ENTRY, mode(c.efer, entry).into());
    write(field::GUEST_PAT, c.pat);
    write(field::GUEST_DR7, c.dr7);
    write(field::GUEST_DEBUGCTL, 0);
    write(field::PENDING_DEBUG, 0);
    write(field::INTERRUPTIBILITY, 0);
    write(field::ACTIVITY, 0);
    for (index, s) in c.segments.iter().enumerate() {
        let unusable = if s.rights & PRESENT == 0 { UNUSABLE } else { 0 };
        write(at(field::GUEST_SELECTOR, index), s.selector.into());
        write(at(field::GUEST_LIMIT, index), s.limit.into());
        write(at(field::GUEST_RIGHTS, index), (u32::from(s.rights) | unusable).into());
        write(at(field::GUEST_BASE, index), s.base);
    }
    write(field::GDTR_BASE, c.gdtr.base);
    write(field::GDTR_LIMIT, c.gdtr.limit);
    write(field::IDTR_BASE, c.idtr.base);
    write(field::IDTR_LIMIT, c.idtr.limit);
    write(field::GUEST_SYSENTER_CS, c.sysenter[0]);
    write(field::GUEST_SYSENTER_ESP, c.sysenter[1]);
    write(field::GUEST_SYSENTER_EIP, c.sysenter[2]);
}

/// Entry controls for a guest in the mode that EFER.LMA tells (27.2.1.3).
pub fn mode(efer: u64, entry: u32) -> u32 {
    if efer & efer::LMA != 0 { entry | entry::GUEST_64 } else { entry & !entry::GUEST_64 }
}

/// Reads the fields.
pub fn load(owned: &Owned, read: &dyn Fn(u32) -> u64) -> VcpuContext {
    let table = |base: u32, limit: u32| Table { base: read(base), limit: read(limit) & 0xffff };
    let mut c = VcpuContext {
        rip: read(field::GUEST_RIP),
        rflags: read(field::GUEST_RFLAGS),
        cr0: seen(read(field::GUEST_CR0), read(field::CR0_SHADOW), owned.cr0_mask()),
        cr3: read(field::GUEST_CR3),
        cr4: seen(read(field::GUEST_CR4), read(field::CR4_SHADOW), owned.cr4_mask()),
        efer: read(field::GUEST_EFER),
        pat: read(field::GUEST_PAT),
        dr7: read(field::GUEST_DR7),
        gdtr: table(field::GDTR_BASE, field::GDTR_LIMIT),
        idtr: table(field::IDTR_BASE, field::IDTR_LIMIT),
        sysenter: [
            read(field::GUEST_SYSENTER_CS),
            read(field::GUEST_SYSENTER_ESP),
            read(field::GUEST_SYSENTER_EIP),
        ],
        ..VcpuContext::default()
    };
    c.gpr[RSP] = read(field::GUEST_RSP);
    for (index, s) in c.segments.iter_mut().enumerate() {
        let rights = read(at(field::GUEST_RIGHTS, index)) as u32;
        // Bit 16 (unusable) becomes a clear P bit; SS keeps its DPL, which is
        // the CPL in any case (25.4.1).
        let present = if rights & UNUSABLE == 0 { rights as u16 } else { rights as u16 & !PRESENT };
        *s = normal(
            index,
            Segment {
                selector: read(at(field::GUEST_SELECTOR, index)) as u16,
                rights: present,
                limit: read(at(field::GUEST_LIMIT, index)) as u32,
                base: read(at(field::GUEST_BASE, index)),
            },
        );
        if index == segment::SS {
            s.rights = s.rights & !(3 << 5) | rights as u16 & 3 << 5;
        }
    }
    c
}

/// The field that is this MSR.
pub fn register(index: u32) -> Option<u32> {
    Some(match index {
        msr::FS_BASE => at(field::GUEST_BASE, segment::FS),
        msr::GS_BASE => at(field::GUEST_BASE, segment::GS),
        msr::SYSENTER_CS => field::GUEST_SYSENTER_CS,
        msr::SYSENTER_ESP => field::GUEST_SYSENTER_ESP,
        msr::SYSENTER_EIP => field::GUEST_SYSENTER_EIP,
        msr::PAT => field::GUEST_PAT,
        msr::EFER => field::GUEST_EFER,
        _ => return None,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::vendor::context::tests::long_mode;
    use std::collections::BTreeMap;

    pub const OWNED: Owned = Owned {
        cr0_fixed: cr0::NE,
        cr4_fixed: cr4::VMXE,
        cr4_allowed: cr4::PAE | cr4::PGE | cr4::MCE,
    };

    /// The fields that a context makes.
    pub fn stored(c: &VcpuContext) -> BTreeMap<u32, u64> {
        let mut fields = BTreeMap::new();
        store(c, &OWNED, 0, &mut |field, value| {
            fields.insert(field, value);
        });
        fields
    }

    #[test]
    fn a_context_goes_through_the_fields_unchanged() {
        let mut c = long_mode();
        c.gpr = [0; 16];
        c.gpr[RSP] = 2;
        c.cr0 |= cr0::CD;
        c.cr3 = 0x4000;
        c.sysenter = [5, 6, 7];
        c.segments[segment::DS] = Segment::default();
        // What software switches is not in the VMCS.
        (c.dr6, c.xcr0) = (0, 0);
        let fields = stored(&c);
        assert_eq!(load(&OWNED, &|field| fields[&field]), c);
        assert_eq!(fields[&field::ENTRY], entry::GUEST_64.into());
        assert_eq!(fields[&0x481a] & u64::from(UNUSABLE), UNUSABLE.into(), "DS");
    }

    #[test]
    fn what_the_guest_does_not_own_it_does_not_change() {
        let mut c = long_mode();
        c.cr0 |= cr0::CD;
        let fields = stored(&c);
        let real = fields[&field::GUEST_CR0];
        assert_eq!(real & (cr0::NE | cr0::CD), cr0::NE);
        let real = fields[&field::GUEST_CR4];
        assert_eq!(real & (cr4::VMXE | cr4::MCE), cr4::VMXE | cr4::MCE);
        assert_eq!(OWNED.cr4_mask() & cr4::SMEP, cr4::SMEP, "not allowed: exits");
        assert_eq!(OWNED.cr4_mask() & cr4::PGE, 0);
    }
}
