// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small world for tests: the scripted machine with a control domain. The
//! frame database, the pool and the domain table are one for the process, so
//! tests take turns, and each must leave everything as it found it.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::domain::{self, Domain, run, table};
use crate::exit;
use crate::memory::frames::{self, FrameState};
use crate::memory::pool;
use crate::outcome::Outcome;
use crate::sched::{self, Handle};
use crate::{audit, per_cpu};
use hv_abi::domain::DomainConfig;
use hv_abi::{DOM_CONTROL, Hypercall, Status};
use hv_hal::addr::{Frame, Order};
use hv_hal::exit::{Exit, Role, gpr};
use hv_hal::fake::machine;
use hv_hal::mem;
use hv_hal::stage2::{Access, Cache};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use zerocopy::FromZeros;

static TURN: Mutex<()> = Mutex::new(());
static ONCE: Once = Once::new();

/// Frames of the control domain: 16 to 512.
const CONTROL_PAGES: u64 = 496;

/// The world.
pub struct World {
    /// The control domain.
    pub control: Arc<Domain>,
    free: u64,
    _turn: MutexGuard<'static, ()>,
}

/// Makes the world; waits for other tests.
pub fn world() -> World {
    let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    machine::reset();
    run::begin_anew();
    ONCE.call_once(|| {
        frames::init();
        per_cpu::init();
        pool::donate(Frame(0x400), 0x2000);
    });
    // What a failed test left behind must not fail the next.
    table::each(&mut |domain| table::remove(domain.id));
    let own = FrameState::private(DOM_CONTROL);
    frames::claim(16 << 12, (16 + CONTROL_PAGES) << 12, own);
    let free = pool::stats().1;
    let mut config = DomainConfig::new_zeroed();
    config.vcpus = 2;
    config.max_pages = CONTROL_PAGES;
    let control = domain::create::create(&config, Role::Control, DOM_CONTROL).unwrap();
    control.memory.pages.store(CONTROL_PAGES, core::sync::atomic::Ordering::Relaxed);
    for frame in (16..16 + CONTROL_PAGES).map(Frame) {
        mem::zero(frame, 1);
        let mapped = control.memory.stage2.write().map(
            frame.address(),
            frame,
            Order::P4K,
            Access::RWX,
            Cache::WriteBack,
            &mut pool::TablesOf(DOM_CONTROL),
        );
        mapped.unwrap();
    }
    World { control, free, _turn: turn }
}

impl World {
    /// A paused guest with `vcpus` vCPUs and `pages` pages from address 0.
    pub fn guest(&self, vcpus: u32, pages: u64) -> Arc<Domain> {
        let mut config = DomainConfig::new_zeroed();
        config.vcpus = vcpus;
        config.max_pages = 1024;
        mem::write(Frame(16), 0, zerocopy::IntoBytes::as_bytes(&config));
        let id = self.ok(&self.control, Hypercall::DomainCreate { gpa: 16 << 12 });
        let mut done = 0;
        while done < pages {
            done += self.ok(
                &self.control,
                Hypercall::MemoryPopulate { domain: id, gpa: done << 12, pages: pages - done },
            );
        }
        table::get(id as u16).unwrap()
    }

    /// Lets a guest run from its vCPU 0, which plays its script.
    pub fn start(&self, guest: &Arc<Domain>) {
        for vcpu in &guest.vcpus {
            vcpu.core().as_mut().unwrap().waits_for_sipi = false;
            vcpu.set_state(hv_abi::vcpu::run_state::STOPPED);
        }
        self.ok(&self.control, Hypercall::DomainUnpause { domain: guest.id.into() });
    }

    /// Makes a hypercall on a domain's vCPU 0, through the exit's own path.
    pub fn call(&self, domain: &Arc<Domain>, call: Hypercall) -> (Status, u64) {
        let (number, args) = call.encode();
        let (status, value, _) = self.raw(domain, number, args);
        (status, value)
    }

    /// The same by number; also what shall happen to the vCPU.
    pub fn raw(&self, domain: &Arc<Domain>, number: u64, args: [u64; 5]) -> (Status, u64, Outcome) {
        let handle = Handle { domain: domain.clone(), index: 0 };
        let vcpu = handle.vcpu().unwrap();
        let mut guard = vcpu.core();
        let core = guard.as_mut().unwrap();
        core.hw.set_reg(gpr::RAX, number);
        let regs = [gpr::RDI, gpr::RSI, gpr::RDX, gpr::R10, gpr::R8];
        for (reg, value) in regs.into_iter().zip(args) {
            core.hw.set_reg(reg, value);
        }
        let outcome = exit::handle(&handle, vcpu, core, Exit::Hypercall);
        let status = Status::from_code(core.hw.reg(gpr::RAX)).unwrap();
        (status, core.hw.reg(gpr::RDX), outcome)
    }

    /// A hypercall that must succeed; its value.
    #[track_caller]
    pub fn ok(&self, domain: &Arc<Domain>, call: Hypercall) -> u64 {
        let (status, value) = self.call(domain, call);
        assert_eq!(status, Status::Ok, "{call:?}");
        value
    }

    /// Destroys every guest there is.
    pub fn destroy_all(&self) {
        let guests = (1..hv_abi::MAX_DOMAINS as u16).filter_map(table::get);
        guests.for_each(|guest| self.destroy(guest));
    }

    /// Destroys a guest to its end, or until only mapped pages are left.
    pub fn destroy(&self, guest: Arc<Domain>) {
        let call = Hypercall::DomainDestroy { domain: guest.id.into() };
        while self.call(&self.control, call).0 == Status::Again {}
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.destroy_all();
        let audit = audit::run();
        sched::forget(&self.control);
        while !crate::grant::revoke::close_some(&self.control) {}
        crate::event::forget_memory(&self.control);
        crate::grant::table::forget(&self.control);
        domain::create::release(&self.control);
        table::remove(DOM_CONTROL);
        if std::thread::panicking() {
            return;
        }
        assert!(!run::any_running(&self.control));
        assert_eq!(audit, 0, "discrepancies in the frame database");
        assert_eq!(pool::stats().1, self.free, "frames leaked");
    }
}
