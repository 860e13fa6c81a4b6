// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domains made, run, stopped and destroyed.

use crate::domain::table;
use crate::testing::world;
use crate::vcpu_loop;
use hv_abi::domain::reason;
use hv_abi::vcpu::run_state;
use hv_abi::{Caller, HYPERCALLS, Hypercall as H, Status};
use hv_hal::addr::CpuId;
use hv_hal::exit::{Event, Exit, MemoryAccess, PortAccess};
use hv_hal::fake::machine;

fn once() {
    let cpu = crate::per_cpu::here().unwrap();
    vcpu_loop::once(CpuId(0), cpu);
}

#[test]
fn fifty_rounds_leave_nothing() {
    let world = world();
    for _ in 0..50 {
        let guest = world.guest(2, 600);
        world.start(&guest);
        once();
        world.destroy(guest);
    }
}

#[test]
fn what_is_for_the_control_domain_is_denied_to_guests() {
    let world = world();
    let guest = world.guest(1, 4);
    for row in HYPERCALLS.iter().filter(|r| r.caller == Caller::Control) {
        let (status, value, _) = world.raw(&guest, row.number.into(), [0; 5]);
        assert_eq!((status, value), (Status::Denied, 0), "{}", row.name);
    }
    let (status, _, _) = world.raw(&guest, 0xdead, [0; 5]);
    assert_eq!(status, Status::NoCall);
}

#[test]
fn faults_stop_the_domain_and_not_the_host() {
    for (exit, why, code) in [
        (Exit::Shutdown, reason::TRIPLE_FAULT, 0),
        (
            Exit::Memory(MemoryAccess {
                gpa: 0x9000_0000,
                write: true,
                fetch: false,
                present: false,
            }),
            reason::MEMORY_FAULT,
            0x9000_0000,
        ),
        (Exit::Unknown(0x77), reason::BAD_STATE, 0x77),
        (Exit::Failed("test", 7), reason::BAD_STATE, 7),
    ] {
        let world = world();
        let guest = world.guest(1, 4);
        guest.vcpus[0].core().as_mut().unwrap().hw.script.push_back(exit);
        world.start(&guest);
        once();
        let stop = guest.stopped.lock().unwrap();
        assert_eq!((stop.reason, stop.code), (why, code));
        assert_eq!(guest.vcpus[0].state(), run_state::STOPPED);
    }
}

#[test]
fn ports_of_nobody_read_ones() {
    let world = world();
    let guest = world.guest(1, 4);
    let access = PortAccess { port: 0x3f8, size: 1, write: false, string: false };
    {
        let mut core = guest.vcpus[0].core();
        let hw = &mut core.as_mut().unwrap().hw;
        hw.state.gpr[0] = 0xaaaa_bbbb_cccc_dd00;
        hw.script.push_back(Exit::Port(access));
        hw.script.push_back(Exit::Port(PortAccess { string: true, ..access }));
    }
    world.start(&guest);
    once();
    let core = guest.vcpus[0].core();
    let hw = &core.as_ref().unwrap().hw;
    assert_eq!(hw.state.gpr[0], 0xaaaa_bbbb_cccc_ddff);
    assert_eq!(hw.injected, [Event::Exception(13, Some(0))]);
}

#[test]
fn a_halted_vcpu_sleeps_until_its_timer() {
    let world = world();
    let guest = world.guest(1, 4);
    {
        let mut core = guest.vcpus[0].core();
        let hw = &mut core.as_mut().unwrap().hw;
        hw.script.push_back(Exit::WriteMsr(0x832, 2 << 17 | 0x40));
        hw.script.push_back(Exit::WriteMsr(0x6e0, 5_000_000));
        hw.script.push_back(Exit::Halt);
    }
    world.start(&guest);
    once();
    assert_eq!(guest.vcpus[0].state(), run_state::BLOCKED);
    // The idle CPU arms the timer, the clock passes, the vCPU wakes.
    once();
    assert!(machine::with(|m| m.now) >= 5_000_000);
    once();
    let core = guest.vcpus[0].core();
    let injected = &core.as_ref().unwrap().hw.injected;
    assert_eq!(injected.as_slice(), [Event::Interrupt(0x40)]);
}

#[test]
fn pauses_count() {
    let world = world();
    let guest = world.guest(1, 4);
    let id = u64::from(guest.id);
    let (pause, go) = (H::DomainPause { domain: id }, H::DomainUnpause { domain: id });
    world.start(&guest);
    world.ok(&world.control, pause);
    world.ok(&world.control, pause);
    once();
    assert_eq!(guest.vcpus[0].trace.total(), 0, "paused");
    world.ok(&world.control, go);
    assert!(!guest.runnable());
    world.ok(&world.control, go);
    once();
    assert!(guest.vcpus[0].trace.total() > 0);
    assert_eq!(world.call(&world.control, go).0, Status::State);
    assert_eq!(world.call(&world.control, H::DomainPause { domain: 0 }).0, Status::Invalid);
}

#[test]
fn init_and_sipi_start_another_vcpu() {
    let world = world();
    let guest = world.guest(2, 4);
    {
        let mut core = guest.vcpus[0].core();
        let hw = &mut core.as_mut().unwrap().hw;
        hw.script.push_back(Exit::WriteMsr(0x830, 1 << 32 | 0x4500));
        hw.script.push_back(Exit::WriteMsr(0x830, 1 << 32 | 0x4608));
    }
    world.start(&guest);
    guest.vcpus[1].set_state(run_state::OFFLINE);
    guest.vcpus[1].core().as_mut().unwrap().waits_for_sipi = true;
    (0..4).for_each(|_| once());
    let core = guest.vcpus[1].core();
    assert_eq!(core.as_ref().unwrap().hw.started, Some(8));
}

#[test]
fn configurations_out_of_range_are_refused() {
    use hv_abi::domain::DomainConfig;
    use zerocopy::{FromZeros, IntoBytes};
    let world = world();
    let mut good = DomainConfig::new_zeroed();
    good.vcpus = 1;
    let attempt = |change: &dyn Fn(&mut DomainConfig)| {
        let mut config = good;
        change(&mut config);
        hv_hal::mem::write(hv_hal::addr::Frame(16), 0, config.as_bytes());
        world.call(&world.control, H::DomainCreate { gpa: 16 << 12 }).0
    };
    assert_eq!(attempt(&|c| c.vcpus = 0), Status::Invalid);
    assert_eq!(attempt(&|c| c.vcpus = 65), Status::Invalid);
    assert_eq!(attempt(&|c| c.flags = 1), Status::Invalid);
    assert_eq!(attempt(&|c| c.max_ports = 1 << 20), Status::Invalid);
    assert_eq!(attempt(&|c| c.weight = 1 << 16), Status::Invalid);
    assert_eq!(attempt(&|c| c.start_info = 4), Status::Invalid);
    assert_eq!(attempt(&|c| c.domain = 5000), Status::Invalid);
    assert_eq!(attempt(&|c| c.domain = 9), Status::Ok);
    assert_eq!(attempt(&|c| c.domain = 9), Status::Exists);
    assert!(table::get(9).is_some());
}
