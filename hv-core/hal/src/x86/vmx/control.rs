// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control registers of a guest on VT-x: the bits it does not own, EFER, and
//! what PAE paging keeps in the CPU.

use super::cpu;
use super::fields::Fields;
use super::run::step;
use super::vcpu::{VmxVcpu, Wish};
use crate::exit::gpr::RSP;
use crate::exit::{Exit, GENERAL_PROTECTION};
use crate::stage2::{self, Format};
use crate::vendor::context::{LINEAR_BITS, long_mode_active};
use crate::vendor::regs::{cr0, cr4, efer, made_canonical};
use crate::vendor::vmx::decode::Control;
use crate::vendor::vmx::layout::field;
use crate::vendor::vmx::state;
use crate::x86::mem;
use crate::x86::vcpu::{VendorVcpu, limits};
use hv_abi::vcpu::VcpuContext;

impl VmxVcpu {
    /// The guest writes a bit of CR0 or CR4 that it does not own, or CR8.
    ///
    /// CR0 and CR4: if the value is one the guest may want, the shadow takes
    /// it, and the instruction runs again: now the bits it does not own are as
    /// it wants them, so the CPU does the rest, with all its checks.
    pub(super) fn move_control(&mut self, f: &mut Fields, c: &Control) -> Exit {
        let value = if c.general == RSP { f.read(field::GUEST_RSP) } else { self.regs[c.general] };
        let refused = match c.register {
            0 => {
                let wrong = value & !cr0::ALL != 0 || value & (cr0::CD | cr0::NW) == cr0::NW;
                if !wrong {
                    f.write(field::CR0_SHADOW, value);
                }
                wrong
            }
            4 => {
                let wrong = value & !limits().cr4 != 0;
                if !wrong {
                    f.write(field::CR4_SHADOW, value);
                }
                wrong
            }
            8 if c.read => {
                let class = u64::from(self.tpr() >> 4);
                if c.general == RSP {
                    f.write(field::GUEST_RSP, class);
                } else {
                    self.regs[c.general] = class;
                }
                self.pass(f);
                false
            }
            8 if value >> 4 == 0 => {
                self.set_tpr((value << 4) as u8);
                self.pass(f);
                if let Wish::Priority(class) = self.wish
                    && value < u64::from(class)
                {
                    self.wish = Wish::Nothing;
                    return Exit::Window;
                }
                false
            }
            _ => true,
        };
        if refused {
            self.queue.put(GENERAL_PROTECTION);
        }
        Exit::Handled
    }

    /// Goes behind the instruction that exited, like
    /// [`skip`](crate::x86::vcpu::HwVcpu::skip).
    pub(super) fn pass(&mut self, f: &mut Fields) {
        let Some(next) = self.next_rip.take() else { return };
        step(f, next);
        if let Some(near) = made_canonical(next, LINEAR_BITS) {
            f.write(field::GUEST_RIP, near);
            self.queue.put(GENERAL_PROTECTION);
        }
    }

    /// EFER, by the kernel crate for the guest. LME can't change while paging
    /// is on (SDM Vol. 3, 4.1.1).
    pub(super) fn set_efer(&mut self, value: u64) -> bool {
        let entry = cpu::features().controls.entry;
        self.vmcs.with(|f| {
            let (was, cr0) = (f.read(field::GUEST_EFER), f.read(field::GUEST_CR0));
            if long_mode_active(value, cr0) != long_mode_active(was, cr0) {
                return false;
            }
            let new = value & !efer::LMA | was & efer::LMA;
            f.write(field::GUEST_EFER, new);
            f.write(field::ENTRY, state::mode(new, entry).into());
            true
        })
    }

    /// With PAE paging outside long mode the page directory pointers are part
    /// of the state (27.3.1.6).
    pub(super) fn load_pointers(&mut self, c: &VcpuContext) {
        let pae = c.cr0 & cr0::PG != 0 && c.cr4 & cr4::PAE != 0 && c.efer & efer::LMA == 0;
        if !pae {
            return;
        }
        let table = c.cr3 & !0x1f & 0xffff_ffff;
        let mut bytes = [0; 32];
        match stage2::lookup(Format::Ept, self.root, table) {
            Some(leaf) if leaf.frame < mem::limit() => {
                mem::read(leaf.frame, (table & 0xfff) as usize, &mut bytes);
            }
            // Not present: a page fault in the guest, which is its own affair.
            _ => {}
        }
        for (index, entry) in bytes.chunks_exact(8).enumerate() {
            let mut pointer = [0; 8];
            pointer.copy_from_slice(entry);
            self.write(field::GUEST_PDPTE + 2 * index as u32, u64::from_le_bytes(pointer));
        }
    }
}
