// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of the scripted machine, one for each test thread; only its
//! memory is common to the process.

use crate::assist::Assist;
use core::cell::RefCell;
use std::boxed::Box;
use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

/// Everything a test can look at or set.
#[derive(Debug)]
pub struct Machine {
    /// CPU the test plays at the moment.
    pub current: u32,
    /// CPUs there are.
    pub cpus: u32,
    /// The clock, in TSC ticks.
    pub now: u64,
    /// The armed deadline.
    pub armed: Option<u64>,
    /// CPUs that were kicked, in order.
    pub kicks: Vec<u32>,
    /// CPUs that were poked, in order.
    pub pokes: Vec<u32>,
    /// What the CPUs do of virtual APICs.
    pub assist: Assist,
    /// Physical interrupts that wait to be drained: vector, level.
    pub interrupts: VecDeque<(u8, bool)>,
    /// Level vectors that were acknowledged.
    pub ended: Vec<u8>,
    /// What went to the serial line.
    pub serial: String,
    /// Frames handed out by `boot::early_alloc`.
    pub early: u64,
    /// Answers of CPUID: leaf, subleaf, registers.
    pub cpuid: Vec<(u32, u32, [u32; 4])>,
    /// Ticks that pass while a vCPU is inside.
    pub enter_ticks: u64,
    /// How often the machine was idle.
    pub idles: u64,
    /// CPUs that were reported as stuck, in order.
    pub stuck: Vec<u32>,
}

impl Machine {
    fn new() -> Self {
        Self {
            current: 0,
            cpus: 2,
            now: 1_000_000,
            armed: None,
            kicks: Vec::new(),
            pokes: Vec::new(),
            assist: Assist { tpr: true, ..Assist::NONE },
            interrupts: VecDeque::new(),
            ended: Vec::new(),
            serial: String::new(),
            early: 0,
            cpuid: Vec::new(),
            enter_ticks: 1_000,
            idles: 0,
            stuck: Vec::new(),
        }
    }
}

std::thread_local! {
    static MACHINE: RefCell<Box<Machine>> = RefCell::new(Box::new(Machine::new()));
}

/// Runs `f` on this thread's machine.
pub fn with<R>(f: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with(|machine| f(&mut machine.borrow_mut()))
}

/// Puts this thread's machine back to its first state.
pub fn reset() {
    with(|machine| *machine = Machine::new());
}
