// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls: decode by the table, ask [`access`](crate::access), dispatch.
//! A handler is `fn(caller…) -> Answer`: it checks everything, then commits.
//! The few calls that decide what happens to the caller itself return an
//! [`Outcome`] of their own. Only this file writes the result registers.

mod batch;
mod console;
mod domains;
mod events;
mod grants;
mod host;
mod memory;
mod sched;
mod vcpus;

use crate::access;
use crate::domain::{Domain, table};
use crate::outcome::{Answer, Outcome};
use crate::sched::Handle;
use crate::vcpu::{Core, Vcpu};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::{DOM_SELF, Hypercall, Status};
use hv_hal::exit::{INVALID_OPCODE, gpr};

/// Handles a hypercall exit.
pub fn handle(handle: &Handle, vcpu: &Vcpu, core: &mut Core) -> Outcome {
    // From user mode there is no such instruction.
    if core.hw.cpl() != 0 {
        core.hw.inject(INVALID_OPCODE);
        return Outcome::Resume;
    }
    handle.domain.hypercalls.fetch_add(1, Ordering::Relaxed);
    let number = core.hw.reg(gpr::RAX);
    let args = [gpr::RDI, gpr::RSI, gpr::RDX, gpr::R10, gpr::R8].map(|r| core.hw.reg(r));
    core.hw.skip();
    let (answer, outcome) = match Hypercall::decode(number, args) {
        None => (Err(Status::NoCall), Outcome::Resume),
        Some(call) => match access::check(&handle.domain, call) {
            Err(status) => (Err(status), Outcome::Resume),
            Ok(()) => dispatch(handle, vcpu, call),
        },
    };
    let (status, value) = match answer {
        Ok(value) => (Status::Ok, value),
        Err(status) => (status, 0),
    };
    core.hw.set_reg(gpr::RAX, status as u64);
    core.hw.set_reg(gpr::RDX, value);
    outcome
}

fn unit(result: Result<(), Status>) -> Answer {
    result.map(|()| 0)
}

fn dispatch(handle: &Handle, vcpu: &Vcpu, call: Hypercall) -> (Answer, Outcome) {
    let caller = &handle.domain;
    let outcome = match call {
        Hypercall::SchedYield {} => Outcome::Yield,
        Hypercall::SchedBlock {} => Outcome::Wait,
        Hypercall::SchedShutdown { reason, code } => match u32::try_from(reason) {
            Ok(reason) if reason <= hv_abi::domain::reason::WATCHDOG => Outcome::Stop(reason, code),
            _ => return (Err(Status::Invalid), Outcome::Resume),
        },
        Hypercall::NotifyAndBlock { port } => {
            let sent = unit(crate::event::ports::send(caller, port));
            let outcome = match sent {
                Ok(_) => Outcome::Wait,
                Err(_) => Outcome::Resume,
            };
            return (sent, outcome);
        }
        Hypercall::SchedPoll { gpa, count, timeout_ns } => {
            return match sched::poll(caller, vcpu, gpa, count, timeout_ns) {
                Ok(outcome) => (Ok(0), outcome),
                Err(status) => (Err(status), Outcome::Resume),
            };
        }
        _ => Outcome::Resume,
    };
    if outcome != Outcome::Resume {
        return (Ok(0), outcome);
    }
    (answer(handle, vcpu, call), Outcome::Resume)
}

/// The domain that a call is about: the caller (DOM_SELF), or for the control
/// domain any.
fn about(caller: &Arc<Domain>, domain: u64) -> Result<Arc<Domain>, Status> {
    if domain == DOM_SELF || domain == u64::from(caller.id) {
        return Ok(caller.clone());
    }
    access::control(caller)?;
    table::named(domain)
}

fn answer(handle: &Handle, vcpu: &Vcpu, call: Hypercall) -> Answer {
    use Hypercall as H;
    let caller = &handle.domain;
    match call {
        H::Version {} => Ok(hv_abi::ABI_VERSION.into()),
        H::Features {} => Ok(crate::exit::cpuid::features(caller).into()),
        H::ConsoleWrite { gpa, len } => console::write(caller, gpa, len),
        H::WallclockGet {} => Ok(crate::clock::wallclock()),
        H::WallclockSet { nanoseconds } => {
            crate::clock::set_wallclock(nanoseconds);
            Ok(0)
        }

        H::EventWords { gpa, log2_ports } => {
            unit(crate::event::register_words(caller, gpa, log2_ports))
        }
        H::EventRing { vcpu, priority, gpa, log2_slots } => {
            unit(crate::event::register_ring(caller, vcpu, priority, gpa, log2_slots))
        }
        H::EventUpcall { vcpu, vector } => events::upcall(caller, vcpu, vector),
        H::EventAlloc { owner, remote } => events::allocate(caller, owner, remote),
        H::EventBind { remote, remote_port } => events::bind(caller, remote, remote_port),
        H::EventBindVirq { virq, vcpu } => {
            crate::event::virq::bind_virq(caller, virq, vcpu).map(u64::from)
        }
        H::EventBindIpi { vcpu } => crate::event::ports::bind_ipi(caller, vcpu).map(u64::from),
        H::EventSend { port } => unit(crate::event::ports::send(caller, port)),
        H::EventClose { port } => unit(crate::event::ports::close(caller, port)),
        H::EventTarget { port, vcpu, priority } => {
            unit(crate::event::ports::target(caller, port, vcpu, priority))
        }
        H::EventUnmask { port } => unit(crate::event::ports::unmask(caller, port)),
        H::EventStatus { owner, port, gpa } => events::status(caller, owner, port, gpa),

        H::EventReset { domain } => events::reset(caller, domain),

        H::SchedWatchdog { timeout_ms } => unit(crate::sched::watchdog::set(caller, timeout_ms)),

        H::VcpuSetContext { domain, vcpu, gpa } => vcpus::set_context(caller, domain, vcpu, gpa),
        H::VcpuGetContext { domain, vcpu, gpa } => vcpus::get_context(caller, domain, vcpu, gpa),
        H::VcpuInfo { domain, vcpu, gpa } => vcpus::info(caller, domain, vcpu, gpa),
        H::VcpuAffinity { domain, vcpu, cpus } => vcpus::affinity(domain, vcpu, cpus),
        H::VcpuStart { domain, vcpu } => vcpus::start(caller, domain, vcpu),
        H::VcpuStop { domain, vcpu } => vcpus::stop(caller, domain, vcpu),
        H::VcpuRunState { domain, vcpu, gpa } => vcpus::run_state(caller, domain, vcpu, gpa),
        H::VcpuAffinitySoft { domain, vcpu, cpus } => vcpus::affinity_soft(domain, vcpu, cpus),

        H::DomainCreate { gpa } => domains::create(caller, gpa),
        H::DomainDestroy { domain } => domains::destroy(domain),
        H::DomainPause { domain } => domains::pause(domain),
        H::DomainUnpause { domain } => domains::unpause(domain),
        H::DomainInfo { at_or_after, gpa } => domains::info(caller, at_or_after, gpa),
        H::DomainShutdown { domain, reason } => domains::shutdown(domain, reason),
        H::ShutdownRequest {} => Ok(caller.shutdown_request.swap(0, Ordering::SeqCst).into()),
        H::DomainWeight { domain, weight, cap } => domains::weight(domain, weight, cap),
        H::DomainLimit { domain, limit, value } => domains::limit(domain, limit, value),
        H::DomainCounters { domain, gpa } => domains::counters(caller, domain, gpa),

        H::MemoryPopulate { domain, gpa, pages } => memory::populate(domain, gpa, pages),
        H::MemoryRelease { gpa, pages } => crate::memory::domain::release(caller, gpa, pages),
        H::MemoryMap { domain, gpa, pages, out_gpa } => {
            memory::map(caller, domain, gpa, pages, out_gpa)
        }
        H::MemoryUnmap { machine, pages } => crate::memory::foreign::unmap(caller, machine, pages),
        H::MemoryPool { index, gpa } => memory::pool(caller, index, gpa),
        H::MemoryClaim { domain, pages } => memory::claim(domain, pages),
        H::MemoryQuery { domain, gpa, out_gpa } => memory::query(caller, domain, gpa, out_gpa),
        H::MemoryIncrease { gpa, pages } => memory::increase(caller, gpa, pages),

        H::HostInfo { gpa } => host::info(caller, gpa),
        H::LogRead { cursor, gpa, len } => console::read_log(caller, cursor, gpa, len),
        H::TraceRead { domain, vcpu, gpa } => vcpus::trace(caller, domain, vcpu, gpa),
        H::Audit {} => Ok(crate::audit::run()),
        H::HostPower { action } => host::power(action),
        H::DebugKey { key } => crate::debug::write(key),
        H::Batch { gpa, count } => batch::run(handle, vcpu, gpa, count),

        H::GrantTable { gpa, log2_entries } => {
            unit(crate::grant::table::register(caller, gpa, log2_entries))
        }
        H::GrantMap { gpa, count } => grants::map(caller, gpa, count),
        H::GrantUnmap { gpa, count } => grants::unmap(caller, gpa, count),
        H::GrantCopy { gpa, count } => grants::copy(caller, gpa, count),
        H::GrantQuery { domain, grant, gpa } => grants::query(caller, domain, grant, gpa),
        H::GrantRevoke { domain, grant, force } => {
            unit(crate::grant::revoke::revoke(caller, domain, grant, force))
        }

        // `dispatch` took these.
        H::SchedYield {}
        | H::SchedBlock {}
        | H::SchedShutdown { .. }
        | H::SchedPoll { .. }
        | H::NotifyAndBlock { .. } => {
            debug_assert!(false, "vCPU {} reached a call that was handled", vcpu.index);
            Err(Status::NoCall)
        }
    }
}
