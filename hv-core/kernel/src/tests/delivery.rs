// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts that the CPU delivers by itself, and those that wait for the
//! guest's priority to fall.

use crate::testing::world;
use crate::vcpu_loop;
use hv_abi::domain::reason;
use hv_hal::addr::CpuId;
use hv_hal::assist::Assist;
use hv_hal::exit::{Event, Exit};
use hv_hal::fake::machine;

const VECTOR: u8 = 0x61;

/// Plays one turn of CPU 0.
fn turn() {
    vcpu_loop::once(CpuId(0), crate::per_cpu::here().unwrap());
}

#[test]
fn the_cpu_gets_what_is_pending_and_tells_the_end_of_levels() {
    let world = world();
    machine::with(|m| m.assist = Assist { posting: false, ..Assist::ALL });
    let guest = world.guest(1, 1);
    let vcpu = &guest.vcpus[0];
    {
        let mut core = vcpu.core();
        let hw = &mut core.as_mut().unwrap().hw;
        assert!(hw.shown.contains(&(0x0f, 0x1ff)), "registers are shown from the start");
        hw.script.extend([Exit::EndOfInterrupt(VECTOR), Exit::Shutdown]);
    }
    vcpu.mark_level(VECTOR);
    vcpu.post(VECTOR);
    world.start(&guest);
    turn();
    let core = vcpu.core();
    let hw = &core.as_ref().unwrap().hw;
    let bit = 1 << (VECTOR & 63);
    assert_eq!(hw.requested, [0, bit, 0, 0]);
    assert_eq!(hw.ends, [0, bit, 0, 0]);
    assert!(hw.injected.is_empty() && !hw.window);
    assert!(!vcpu.has_news());
}

#[test]
fn a_register_that_is_written_is_shown() {
    let world = world();
    machine::with(|m| m.assist = Assist { delivery: false, posting: false, ..Assist::ALL });
    let guest = world.guest(1, 1);
    let vcpu = &guest.vcpus[0];
    {
        let mut core = vcpu.core();
        core.as_mut().unwrap().hw.script.extend([Exit::WriteMsr(0x80f, 0x1fe), Exit::Halt]);
    }
    world.start(&guest);
    turn();
    let core = vcpu.core();
    assert_eq!(core.as_ref().unwrap().hw.shown.last(), Some(&(0x0f, 0x1fe)));
}

#[test]
fn a_priority_that_holds_back_is_waited_for() {
    let world = world();
    let guest = world.guest(1, 1);
    let vcpu = &guest.vcpus[0];
    let with = |tpr: u8, exit: Exit| {
        let mut core = vcpu.core();
        let hw = &mut core.as_mut().unwrap().hw;
        hw.tpr = tpr;
        hw.script.push_back(exit);
    };
    vcpu.post(VECTOR);
    with(0x70, Exit::Shutdown);
    world.start(&guest);
    turn();
    {
        let core = vcpu.core();
        let hw = &core.as_ref().unwrap().hw;
        assert_eq!((hw.priority, hw.window, hw.injected.len()), (6, false, 0));
    }
    assert!(guest.stopped.lock().is_some_and(|s| s.reason == reason::TRIPLE_FAULT));
}

#[test]
fn it_comes_once_the_priority_has_fallen() {
    let world = world();
    let guest = world.guest(1, 1);
    let vcpu = &guest.vcpus[0];
    vcpu.post(VECTOR);
    {
        let mut core = vcpu.core();
        let hw = &mut core.as_mut().unwrap().hw;
        hw.tpr = 0x60;
        // The guest writes its priority as a register: that exits.
        hw.script.extend([Exit::WriteMsr(0x808, 0x50), Exit::Halt]);
    }
    world.start(&guest);
    turn();
    let core = vcpu.core();
    let hw = &core.as_ref().unwrap().hw;
    assert_eq!(hw.injected, [Event::Interrupt(VECTOR)]);
    assert_eq!(hw.priority, 0);
}
