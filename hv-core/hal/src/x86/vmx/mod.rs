// SPDX-License-Identifier: MIT OR Apache-2.0
//! VT-x: this build does not run on it yet and says so.

use crate::exit::{Event, Exit, Role};
use crate::stage2::{Stage2, TableFrames};
use crate::x86::vcpu::VendorVcpu;
use crate::x86::xstate::Xstate;
use hv_abi::vcpu::VcpuContext;

/// There is none.
pub enum VmxVcpu {}

pub fn present() -> bool {
    false
}

pub fn probe() -> Result<(), &'static str> {
    Err("this build does not support VT-x yet: use a machine with AMD-V")
}

pub fn enable_cpu() -> Result<(), &'static str> {
    probe()
}

pub fn set_console_ports(_first: Option<u16>) {}

impl VendorVcpu for VmxVcpu {
    fn new(_role: Role, _root: &Stage2, _frames: &mut dyn TableFrames) -> Option<Self> {
        None
    }
    fn release(&mut self, _frames: &mut dyn TableFrames) {
        match *self {}
    }
    fn reg(&self, _index: usize) -> u64 {
        match *self {}
    }
    fn set_reg(&mut self, _index: usize, _value: u64) {
        match *self {}
    }
    fn rip(&self) -> u64 {
        match *self {}
    }
    fn set_rip(&mut self, _rip: u64) {
        match *self {}
    }
    fn rflags(&self) -> u64 {
        match *self {}
    }
    fn cr4(&self) -> u64 {
        match *self {}
    }
    fn cpl(&self) -> u8 {
        match *self {}
    }
    fn skip(&mut self) {
        match *self {}
    }
    fn load(&mut self) {
        match *self {}
    }
    fn unload(&mut self) {
        match *self {}
    }
    fn enter(&mut self) -> Exit {
        match *self {}
    }
    fn interruptible(&self) -> bool {
        match *self {}
    }
    fn pending(&self) -> bool {
        match *self {}
    }
    fn inject(&mut self, _event: Event) {
        match *self {}
    }
    fn want_window(&mut self, _on: bool) {
        match *self {}
    }
    fn want_priority(&mut self, _class: u8) {
        match *self {}
    }
    fn tpr(&self) -> u8 {
        match *self {}
    }
    fn set_tpr(&mut self, _tpr: u8) {
        match *self {}
    }
    fn context(&self) -> VcpuContext {
        match *self {}
    }
    fn put(&mut self, _context: &VcpuContext) {
        match *self {}
    }
    fn msr(&self, _index: u32) -> Option<u64> {
        match *self {}
    }
    fn put_msr(&mut self, _index: u32, _value: u64) -> bool {
        match *self {}
    }
    fn set_tsc_offset(&mut self, _offset: i64) {
        match *self {}
    }
    fn flush(&mut self) {
        match *self {}
    }
    fn xstate(&mut self) -> &mut Xstate {
        match *self {}
    }

    fn dump(&self, _line: &mut dyn FnMut(&str)) {
        match *self {}
    }
}
