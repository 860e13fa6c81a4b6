// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random hypercalls from a guest and from the control domain: whatever is
//! asked, nothing panics, and afterwards the audit agrees and nothing leaked.
//! `HV_RANDOM_CALLS` sets how many; the default is for every change.

use crate::domain::table;
use crate::outcome::Outcome;
use crate::testing::{World, world};
use hv_abi::HYPERCALLS;

/// xorshift64*: repeatable, and good enough to choose arguments.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// An argument: mostly near something that means something.
    fn argument(&mut self) -> u64 {
        match self.below(10) {
            0 => self.next(),
            1 => u64::MAX - self.below(8),
            2 => 0xffff,
            3 | 4 => self.below(4),
            5 => self.below(32) << 12,
            6 => (self.below(0x40) << 12) + self.below(16) * 8,
            7 => 10 + self.below(5),
            8 => self.below(1024),
            _ => (0x400 + self.below(0x2000)) << 12,
        }
    }
}

fn calls() -> u64 {
    std::env::var("HV_RANDOM_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000)
}

fn storm(world: &World, seed: u64, from_control: bool) {
    let mut random = Random(seed);
    let mut guest = world.guest(2, 64);
    for turn in 0..calls() {
        let row = &HYPERCALLS[random.below(HYPERCALLS.len() as u64) as usize];
        let number = match random.below(50) {
            0 => random.next(),
            _ => row.number.into(),
        };
        // Restarting the machine is what it says.
        if row.name == "host_power" {
            continue;
        }
        let args = core::array::from_fn(|_| random.argument());
        let caller = if from_control { &world.control } else { &guest };
        let (_, _, outcome) = world.raw(caller, number, args);
        assert!(from_control || !matches!(outcome, Outcome::Stop(reason, _) if reason > 4));
        let stopped = guest.is_dying() || table::get(guest.id).is_none();
        if from_control && stopped {
            world.destroy(guest);
            guest = world.guest(2, 64);
        }
        // Guests that the storm made must not fill the host.
        if from_control && turn % 1000 == 0 {
            world.destroy_all();
            guest = world.guest(2, 64);
        }
    }
    world.destroy_all();
    // Mappings the storm still holds are given back by machine address.
    for page in 0x400..0x2400u64 {
        let unmap = hv_abi::Hypercall::MemoryUnmap { machine: page << 12, pages: 1 };
        while world.call(&world.control, unmap).0 == hv_abi::Status::Ok {}
    }
}

#[test]
fn a_guest_may_ask_for_anything() {
    let world = world();
    storm(&world, 0x1234_5678_9abc_def1, false);
}

#[test]
fn even_the_control_domain_may_ask_for_anything() {
    let world = world();
    storm(&world, 0x0fed_cba9_8765_4321, true);
}
