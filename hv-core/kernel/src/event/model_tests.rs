// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random sequences of steps on several ports, rings and vCPUs, compared with
//! a model that has no words and no rings: for each port whether an event is
//! on its way, and whether it is masked.

use super::protocol::{self, Home, Join, Port, Target, Word};
use hv_abi::DomainId;
use hv_abi::event::{LINKED, MASKED, PENDING, PRIORITIES};
use proptest::prelude::*;
use spin::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

const PORTS: usize = 6;
const VCPUS: usize = 2;
const PEER: DomainId = 3;

/// The partner of a port in its n-th life.
fn joined(port: usize, life: u32) -> Join {
    Join::Joined(PEER, port as u32 | life << 8)
}

#[derive(Default)]
struct Ring {
    there: Cell<bool>,
    slots: RefCell<VecDeque<u32>>,
}

struct World {
    ports: Vec<Mutex<Port>>,
    words: Vec<AtomicU32>,
    words_there: Cell<bool>,
    rings: [[Ring; PRIORITIES]; VCPUS],
}

impl Home for World {
    type Lock = Mutex<Port>;
    type Word = AtomicU32;

    fn id(&self) -> DomainId {
        7
    }

    fn port(&self, number: u32) -> Option<&Mutex<Port>> {
        self.ports.get(number as usize)
    }

    fn has_words(&self) -> bool {
        self.words_there.get()
    }

    fn word(&self, number: u32) -> Option<&AtomicU32> {
        self.words.get(number as usize).filter(|_| self.has_words())
    }

    fn hears(&self, target: Target) -> bool {
        self.rings[target.vcpu as usize][usize::from(target.priority)].there.get()
    }

    fn append(&self, target: Target, number: u32) {
        let ring = &self.rings[target.vcpu as usize][usize::from(target.priority)];
        ring.slots.borrow_mut().push_back(number);
        let twice = self.rings.iter().flatten().flat_map(|r| r.slots.borrow().clone());
        let count = twice.filter(|n| *n == number).count();
        assert_eq!(count, 1, "port {number} is in {count} slots");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Words,
    Ring(usize, usize),
    Send(usize),
    Mask(usize),
    Unmask(usize),
    Aim(usize, usize, usize),
    Renew(usize),
    Consume(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let port = 0..PORTS;
    prop_oneof![
        1 => Just(Step::Words),
        2 => (0..VCPUS, 0..PRIORITIES).prop_map(|(v, p)| Step::Ring(v, p)),
        8 => port.clone().prop_map(Step::Send),
        3 => port.clone().prop_map(Step::Mask),
        3 => port.clone().prop_map(Step::Unmask),
        3 => (port.clone(), 0..VCPUS, 0..PRIORITIES).prop_map(|(n, v, p)| Step::Aim(n, v, p)),
        2 => port.prop_map(Step::Renew),
        4 => (0..VCPUS).prop_map(Step::Consume),
    ]
}

#[derive(Clone, Copy, Default)]
struct Model {
    due: bool,
    masked: bool,
    life: u32,
}

/// The guest's side: takes its rings empty; the ports it handled.
fn consume(world: &World, vcpu: usize) -> Vec<usize> {
    let mut handled = Vec::new();
    for ring in &world.rings[vcpu] {
        while let Some(number) = ring.slots.borrow_mut().pop_front() {
            let word = &world.words[number as usize];
            let old = word.clear(LINKED);
            assert!(old & LINKED != 0);
            if old & MASKED == 0 && word.clear(PENDING) & PENDING != 0 {
                handled.push(number as usize);
            }
        }
    }
    handled
}

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let world = World {
        ports: (0..PORTS).map(|n| Mutex::new(Port { join: joined(n, 0), ..Port::FREE })).collect(),
        words: (0..PORTS).map(|_| AtomicU32::new(0)).collect(),
        words_there: Cell::new(false),
        rings: Default::default(),
    };
    let mut model = [Model::default(); PORTS];
    let look_everywhere = || (0..PORTS).for_each(|n| protocol::look_again(&world, n as u32));
    for step in steps {
        match *step {
            Step::Words => {
                world.words_there.set(true);
                look_everywhere();
            }
            Step::Ring(vcpu, priority) if world.has_words() => {
                world.rings[vcpu][priority].there.set(true);
                look_everywhere();
            }
            Step::Send(n) => {
                protocol::raise(&world, n as u32, joined(n, model[n].life));
                // One of an earlier life is nobody's.
                protocol::raise(&world, n as u32, joined(n, model[n].life + 1));
                model[n].due = true;
            }
            Step::Mask(n) if world.has_words() => {
                world.words[n].set(MASKED);
                model[n].masked = true;
            }
            Step::Unmask(n) if world.has_words() => {
                if world.words[n].clear(MASKED) & PENDING != 0 {
                    protocol::look_again(&world, n as u32);
                }
                model[n].masked = false;
            }
            Step::Aim(n, vcpu, priority) => {
                let target = Target { vcpu: vcpu as u32, priority: priority as u8 };
                prop_assert_eq!(protocol::aim(&world, n as u32, target), Ok(()));
            }
            Step::Renew(n) => {
                let old = protocol::close(&world, n as u32);
                prop_assert_eq!(old, Ok(joined(n, model[n].life)));
                let life = model[n].life + 1;
                prop_assert!(protocol::take(&world, n as u32, joined(n, life), 0));
                model[n] = Model { life, ..Model::default() };
            }
            Step::Consume(vcpu) => {
                for n in consume(&world, vcpu) {
                    prop_assert!(model[n].due && !model[n].masked, "port {} for nothing", n);
                    model[n].due = false;
                }
            }
            _ => {}
        }
    }
    // In the end everything is there and unmasked, and all is handled.
    world.words_there.set(true);
    world.rings.iter().flatten().for_each(|ring| ring.there.set(true));
    look_everywhere();
    for n in 0..PORTS {
        if world.words[n].clear(MASKED) & PENDING != 0 {
            protocol::look_again(&world, n as u32);
        }
    }
    for vcpu in 0..VCPUS {
        consume(&world, vcpu).into_iter().for_each(|n| model[n].due = false);
    }
    for (n, port) in model.iter().enumerate() {
        let word = world.words[n].load(Ordering::SeqCst);
        prop_assert!(!port.due, "port {}: an event was lost, word {:#x}", n, word);
        prop_assert_eq!(word & (PENDING | LINKED), 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_for_nothing(steps in prop::collection::vec(step(), 1..80)) {
        play(&steps)?;
    }
}
