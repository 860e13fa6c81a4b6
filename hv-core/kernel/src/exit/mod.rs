// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each exit means. Handlers act on the vCPU and return an
//! [`Outcome`]; a vCPU that does what a domain may not gets the exception a
//! bare machine would give it, or its domain stops. The host goes on.

pub mod cpuid;
pub mod ipi;
pub mod memory;
pub mod msr;
pub mod port;

use crate::guest_log;
use crate::hypercall;
use crate::outcome::Outcome;
use crate::sched::Handle;
use crate::vcpu::{Core, Vcpu};
use hv_abi::domain::reason;
use hv_hal::exit::{Event, Exit, GENERAL_PROTECTION, INVALID_OPCODE};

/// Handles one exit.
pub fn handle(handle: &Handle, vcpu: &Vcpu, core: &mut Core, exit: Exit) -> Outcome {
    let domain = &handle.domain;
    match exit {
        Exit::Interrupt | Exit::Window | Exit::Handled | Exit::Nmi => Outcome::Resume,
        Exit::Hypercall => hypercall::handle(handle, vcpu, core),
        Exit::Cpuid => cpuid::handle(domain, vcpu, core),
        Exit::ReadMsr(index) => msr::read(domain, core, index),
        Exit::WriteMsr(index, value) => msr::write(handle, vcpu, core, index, value),
        Exit::Halt => {
            core.hw.skip();
            Outcome::Block
        }
        Exit::Port(access) => port::handle(domain, core, access),
        Exit::Memory(access) => memory::handle(domain, core, access),
        Exit::Exception { vector, error } => {
            // #DB, #AC: always intercepted so that a storm of them comes out
            // here each time (XSA-156); given back to the vCPU.
            core.hw.inject(Event::Exception(vector, error));
            Outcome::Resume
        }
        Exit::EndOfInterrupt(vector) => {
            msr::ended(handle, vcpu, vector);
            Outcome::Resume
        }
        Exit::Pause => Outcome::Yield,
        Exit::Xsetbv(index, value) => {
            if index == 0 && core.hw.cpl() == 0 && core.hw.set_xcr0(value) {
                core.hw.skip();
            } else {
                core.hw.inject(GENERAL_PROTECTION);
            }
            Outcome::Resume
        }
        Exit::CacheFlush => {
            // All memory is coherent; devices that are not belong to nobody.
            core.hw.skip();
            Outcome::Resume
        }
        Exit::Refused(name) => {
            guest_log!(domain, "{name} refused at {:#x}", core.hw.rip());
            core.hw.inject(INVALID_OPCODE);
            Outcome::Resume
        }
        Exit::Shutdown => {
            guest_log!(domain, "vCPU {}: triple fault at {:#x}", vcpu.index, core.hw.rip());
            core.hw.dump(&mut |line| guest_log!(domain, "{line}"));
            Outcome::Stop(reason::TRIPLE_FAULT, 0)
        }
        Exit::Failed(what, code) => {
            log::error!(
                "d{}: vCPU {}: the CPU refused its state: {what} ({code:#x})",
                domain.id,
                vcpu.index
            );
            core.hw.dump(&mut |line| log::error!("{line}"));
            Outcome::Stop(reason::BAD_STATE, code)
        }
        Exit::Unknown(code) if core.hw.cpl() == 3 => {
            guest_log!(domain, "exit {code:#x} from user mode at {:#x}", core.hw.rip());
            core.hw.inject(INVALID_OPCODE);
            Outcome::Resume
        }
        Exit::Unknown(code) => {
            log::error!("d{}: vCPU {}: unknown exit {code:#x}", domain.id, vcpu.index);
            core.hw.dump(&mut |line| log::error!("{line}"));
            Outcome::Stop(reason::BAD_STATE, code)
        }
    }
}
