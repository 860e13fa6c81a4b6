// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a vCPU came back to the core, and what can be put into it: the words
//! in which both vendors speak to the kernel crate.

/// Positions of the general registers, in the order of their encoding.
pub mod gpr {
    #![allow(missing_docs)]
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
    pub const R8: usize = 8;
    pub const R9: usize = 9;
    pub const R10: usize = 10;
    pub const R11: usize = 11;
}

/// Why a vCPU came back. The exiting instruction has not been skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Exit {
    /// A physical interrupt; it is acknowledged or recorded already.
    Interrupt,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// CPUID.
    Cpuid,
    /// RDMSR of this register.
    ReadMsr(u32),
    /// WRMSR of this register with this value.
    WriteMsr(u32, u64),
    /// HLT.
    Halt,
    /// IN, OUT, INS, OUTS.
    Port(PortAccess),
    /// The stage 2 tables do not allow the access.
    Memory(MemoryAccess),
    /// The vCPU can take an interrupt now, as was asked for.
    Window,
    /// An exception that is always intercepted; it has not been delivered.
    Exception {
        /// 1 (#DB), 17 (#AC) or 18 (#MC).
        vector: u8,
        /// Its error code, where it has one.
        error: Option<u32>,
    },
    /// The vCPU spins (PAUSE filter, PLE).
    Pause,
    /// XSETBV of this register and value.
    Xsetbv(u32, u64),
    /// A physical NMI.
    Nmi,
    /// Triple fault.
    Shutdown,
    /// An instruction that domains may not use; by name.
    Refused(&'static str),
    /// WBINVD or INVD.
    CacheFlush,
    /// An interrupt that the CPU had delivered was acknowledged, and the end
    /// of this vector is to be told ([`watch_ends`]).
    ///
    /// [`watch_ends`]: crate::vcpu::HwVcpu::watch_ends
    EndOfInterrupt(u8),
    /// The hal has handled it: just go on.
    Handled,
    /// The CPU refused the entry; what and where.
    Failed(&'static str, u64),
    /// An exit nobody knows, by the vendor's number.
    Unknown(u64),
}

/// A port access that was intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// The port.
    pub port: u16,
    /// 1, 2 or 4 bytes.
    pub size: u8,
    /// OUT or OUTS.
    pub write: bool,
    /// INS or OUTS, perhaps with REP.
    pub string: bool,
}

/// A memory access that was intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccess {
    /// Guest-physical address.
    pub gpa: u64,
    /// It was a write.
    pub write: bool,
    /// It was an instruction fetch.
    pub fetch: bool,
    /// There is a translation, and it does not allow the access.
    pub present: bool,
}

/// What the core puts into a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An external interrupt of this vector.
    Interrupt(u8),
    /// An exception with its error code, where it has one.
    Exception(u8, Option<u32>),
    /// A non-maskable interrupt.
    Nmi,
}

/// #UD.
pub const INVALID_OPCODE: Event = Event::Exception(6, None);
/// #GP(0).
pub const GENERAL_PROTECTION: Event = Event::Exception(13, Some(0));

/// Whose vCPU it is: decides what is intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The control domain: owns the devices.
    Control,
    /// A guest: owns no port, no device.
    Guest,
}

/// The vendor's name for the way vCPUs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// AMD-V.
    Svm,
    /// VT-x.
    Vmx,
}

impl Vendor {
    /// Its number in the interface.
    pub fn code(self) -> u32 {
        match self {
            Vendor::Svm => hv_abi::host::vendor::SVM,
            Vendor::Vmx => hv_abi::host::vendor::VMX,
        }
    }
}

/// What the administrator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whichever the CPU has.
    Auto,
    /// AMD-V or stop.
    Svm,
    /// VT-x or stop.
    Vmx,
}

impl Choice {
    /// How the choices are written.
    pub const FORM: &'static str = "auto|svm|vmx";

    /// Reads one of [`FORM`](Self::FORM).
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Choice::Auto,
            "svm" => Choice::Svm,
            "vmx" => Choice::Vmx,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_of_the_form_is_read() {
        let read: std::vec::Vec<_> = Choice::FORM.split('|').map(Choice::parse).collect();
        assert_eq!(read, [Some(Choice::Auto), Some(Choice::Svm), Some(Choice::Vmx)]);
        assert_eq!(Choice::parse("vmx "), None);
        assert_ne!(Vendor::Svm.code(), Vendor::Vmx.code());
    }
}
