// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUID leaves by which a domain finds the core.

/// First leaf: `eax` is the last leaf, `ebx ecx edx` the [`SIGNATURE`].
pub const LEAF_BASE: u32 = 0x4000_0000;
/// `eax` interface version, `ebx` [`features`], `ecx` domain number, `edx`
/// number of vCPUs.
pub const LEAF_FEATURES: u32 = 0x4000_0001;
/// `ebx:eax` guest-physical address of the start info, 0 for none.
pub const LEAF_START_INFO: u32 = 0x4000_0002;
/// `eax` TSC kHz, `ebx` local APIC timer kHz (VMware's timing leaf, which
/// Linux reads from other hypervisors too).
pub const LEAF_TIMING: u32 = 0x4000_0010;
/// The last leaf.
pub const LEAF_LAST: u32 = LEAF_TIMING;

/// Twelve bytes in `ebx ecx edx` of [`LEAF_BASE`].
pub const SIGNATURE: [u8; 12] = *b"HvxHvxHvxHvx";

/// Bits of `ebx` in [`LEAF_FEATURES`].
pub mod features {
    /// The caller is the control domain.
    pub const CONTROL: u32 = 1 << 0;
    /// The TSC has the frequency of [`super::LEAF_TIMING`] and never stops.
    pub const STABLE_TSC: u32 = 1 << 1;
    /// Domains can grant memory to each other.
    pub const GRANTS: u32 = 1 << 2;
    /// SchedPoll and SchedWatchdog are there.
    pub const POLL: u32 = 1 << 3;
}
