// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each CPU's segments and its task state segment, which names the stacks
//! that #DF, NMI and #MC run on: those can come when the current stack is no
//! good, or between any two instructions.
// UNSAFETY: loads descriptor tables and segment registers.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, SS, Segment};
use x86_64::instructions::tables::{lgdt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::SegmentSelector;
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

/// Selector of the code segment.
pub(crate) const CODE: u16 = 0x08;
/// Selector of the data segment.
pub(crate) const DATA: u16 = 0x10;
/// Selector of the task state segment.
pub(crate) const TASK: u16 = 0x18;

/// Interrupt stacks by their number in a gate (1-based; 0 = none).
pub(super) const STACK_DOUBLE_FAULT: u8 = 1;
pub(super) const STACK_NMI: u8 = 2;
pub(super) const STACK_MACHINE_CHECK: u8 = 3;
/// How many there are.
pub(super) const STACKS: usize = 3;

/// 64-bit code and flat data, accessed bit set (SDM vol. 3, 3.4.5).
const CODE_SEGMENT: u64 = 0x00af_9b00_0000_ffff;
const DATA_SEGMENT: u64 = 0x00cf_9300_0000_ffff;

/// A CPU's tables; written by [`Descriptors::load`] on that CPU only.
pub(super) struct Descriptors(UnsafeCell<Tables>);

struct Tables {
    gdt: [u64; 5],
    tss: TaskStateSegment,
}

// SAFETY: only the CPU that owns them writes the tables, in `load`, before it
// lets any other part of the core run; the CPU itself sets the busy bit.
unsafe impl Sync for Descriptors {}

impl Descriptors {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(Tables {
            gdt: [0, CODE_SEGMENT, DATA_SEGMENT, 0, 0],
            tss: TaskStateSegment::new(),
        }))
    }

    /// Puts the tables into use on the running CPU, with these interrupt
    /// stacks (their tops).
    ///
    /// # Safety
    /// The running CPU is the tables' owner, and GS is yet to be installed.
    pub(super) unsafe fn load(&'static self, stacks: [u64; STACKS]) {
        // SAFETY: the owner is the only one to touch the tables (contract).
        let tables = unsafe { &mut *self.0.get() };
        // The segment is packed: its table is filled outside of it.
        let mut table = [VirtAddr::zero(); 7];
        for (slot, top) in table.iter_mut().zip(stacks) {
            *slot = VirtAddr::new(top);
        }
        tables.tss = TaskStateSegment::new();
        tables.tss.interrupt_stack_table = table;
        let base = &raw const tables.tss as u64;
        let limit = size_of::<TaskStateSegment>() as u64 - 1;
        tables.gdt = [
            0,
            CODE_SEGMENT,
            DATA_SEGMENT,
            // An available 64-bit TSS, present (SDM vol. 3, 8.2.3).
            limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56,
            base >> 32,
        ];
        let pointer = DescriptorTablePointer {
            limit: size_of_val(&tables.gdt) as u16 - 1,
            base: VirtAddr::from_ptr(&raw const tables.gdt),
        };
        let data = SegmentSelector(DATA);
        let null = SegmentSelector::new(0, PrivilegeLevel::Ring0);
        // SAFETY: the table lives for ever and holds flat segments, so code
        // and stack stay where they are.
        unsafe {
            lgdt(&pointer);
            CS::set_reg(SegmentSelector(CODE));
            SS::set_reg(data);
            DS::set_reg(data);
            ES::set_reg(data);
            FS::set_reg(null);
            x86_64::instructions::segmentation::GS::set_reg(null);
            load_tss(SegmentSelector(TASK));
        }
    }
}
