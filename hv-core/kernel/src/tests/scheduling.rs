// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who runs how long.

use crate::domain::{Domain, run};
use crate::testing::{World, world};
use crate::vcpu_loop;
use core::sync::atomic::Ordering;
use hv_abi::Hypercall as H;
use hv_hal::addr::CpuId;
use hv_hal::exit::Exit;
use hv_hal::fake::machine;
use std::sync::Arc;

/// A guest that never waits, on CPU 0 only.
fn spinner(world: &World, weight: u64, cap: u64) -> Arc<Domain> {
    let guest = world.guest(1, 1);
    let domain = u64::from(guest.id);
    world.ok(&world.control, H::VcpuAffinity { domain, vcpu: 0, cpus: 1 });
    world.ok(&world.control, H::DomainWeight { domain, weight, cap });
    {
        let mut core = guest.vcpus[0].core();
        let script = &mut core.as_mut().unwrap().hw.script;
        script.extend(core::iter::repeat_n(Exit::Interrupt, 20_000));
    }
    world.start(&guest);
    guest
}

fn run_until(deadline: u64) {
    let cpu = crate::per_cpu::here().unwrap();
    while machine::with(|m| m.now) < deadline {
        vcpu_loop::once(CpuId(0), cpu);
    }
}

fn ran(guest: &Domain) -> u64 {
    guest.vcpus[0].times.run.load(Ordering::Relaxed)
}

#[test]
fn time_is_shared_by_weight() {
    let world = world();
    // An entry takes a millisecond; two seconds in all.
    machine::with(|m| m.enter_ticks = 1_000_000);
    let (a, b) = (spinner(&world, 512, 0), spinner(&world, 256, 0));
    run_until(2_000_000_000);
    let (a, b) = (ran(&a), ran(&b));
    assert!(a + b > 1_900_000_000, "{a} {b}");
    assert!((a as f64 / b as f64 - 2.0).abs() < 0.1, "{a} {b}");
}

#[test]
fn what_is_used_above_a_cap_is_carried_over() {
    let world = world();
    // An entry takes more than twice what the cap allows in a period.
    machine::with(|m| m.enter_ticks = 60_000_000);
    let guest = spinner(&world, 256, 25);
    run_until(10_000_000_000);
    let share = ran(&guest) as f64 / 1e10;
    assert!((0.23..0.28).contains(&share), "{share}");
}

#[test]
fn a_cap_holds_on_an_idle_host() {
    let world = world();
    machine::with(|m| m.enter_ticks = 1_000_000);
    let guest = spinner(&world, 256, 25);
    run_until(2_000_000_000);
    let share = ran(&guest) as f64 / 2e9;
    assert!((0.24..0.32).contains(&share), "{share}");
}

#[test]
fn one_who_comes_late_is_not_owed_the_past() {
    let world = world();
    machine::with(|m| m.enter_ticks = 1_000_000);
    let (a, c) = (spinner(&world, 256, 0), spinner(&world, 256, 0));
    run_until(1_000_000_000);
    let before = ran(&a) + ran(&c);
    let b = spinner(&world, 256, 0);
    let start = machine::with(|m| m.now);
    run_until(start + 900_000_000);
    let share = ran(&b) as f64 / (ran(&a) + ran(&c) - before + ran(&b)) as f64;
    assert!((0.30..0.37).contains(&share), "{share}");
}

#[test]
fn one_who_yields_goes_behind_the_next() {
    let world = world();
    let (a, b) = (spinner(&world, 256, 0), spinner(&world, 256, 0));
    a.vcpus[0].core().as_mut().unwrap().hw.script.push_front(Exit::Pause);
    let cpu = crate::per_cpu::here().unwrap();
    vcpu_loop::once(CpuId(0), cpu);
    assert_eq!((a.vcpus[0].trace.total(), b.vcpus[0].trace.total()), (1, 0));
    machine::with(|m| m.enter_ticks = 10_000_000);
    vcpu_loop::once(CpuId(0), cpu);
    assert!(b.vcpus[0].trace.total() > 0);
}

/// Without its control domain a machine is left to nobody.
#[test]
fn a_late_control_domain_is_the_end_of_the_machine() {
    let world = world();
    let _guest = spinner(&world, 256, 0);
    world.ok(&world.control, H::SchedWatchdog { timeout_ms: 2 });
    // The guest, which is alone on this CPU and would stay for 20 ms, comes
    // out for it.
    vcpu_loop::once(CpuId(0), crate::per_cpu::here().unwrap());
    assert!(run::is_over());
    let now = machine::with(|m| m.now);
    assert!((3_000_000..4_000_000).contains(&now), "{now}");
}

/// Who waits for a domain to stop does not wait for ever if another lets it
/// run meanwhile.
#[test]
fn a_pause_that_is_taken_back_ends_its_wait() {
    let world = world();
    let guest = spinner(&world, 256, 0);
    machine::with(|m| m.current = 1);
    guest.vcpus[0].set_state(hv_abi::vcpu::run_state::RUNNING);
    run::wait_until_none_runs(&guest);
    guest.vcpus[0].set_state(hv_abi::vcpu::run_state::READY);
    machine::with(|m| m.current = 0);
}
