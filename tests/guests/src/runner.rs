// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the chosen tests, one by one. After each, whatever it left behind is
//! cleared away, the host's counters must be back where they were, and the
//! core's audit must find nothing.

use hv_guest::start::{Boot, end_machine};
use hv_guest::{Outcome, Verdict, event, failure, println};

use crate::baseline::Baseline;
use crate::tests::TESTS;

/// Free pages below which most tests could not make their children: 48 MiB.
const POOL: u64 = 48 << 8;

/// One behaviour.
pub struct Test {
    /// Its name: that of its file.
    pub name: &'static str,
    /// The runner's part.
    pub run: fn() -> Outcome,
}

/// Runs what the command line chooses, and ends the machine.
pub fn run(boot: &Boot) -> ! {
    let mut count = 0;
    let mut good = true;
    if let Err(status) = event::setup() {
        println!("HVTEST event_setup error event rings were refused: {status:?}");
        count += 1;
        good = false;
    }
    let free = crate::host::host().map_or(0, |info| info.free_pages);
    if free < POOL {
        let mib = POOL >> 8;
        println!("HVTEST memory error guests have {} MiB, {mib} MiB are needed", free >> 8);
        println!("HVTEST done {}", count + 1);
        end_machine(false);
    }
    warm_up();
    for test in TESTS.iter().filter(|test| chosen(boot.cmdline, test.name)) {
        let outcome = one(test);
        good &= report(test.name, &outcome);
        count += 1;
    }
    println!("HVTEST done {count}");
    end_machine(good)
}

/// The control domain's own tables grow when they first show a guest's
/// memory, and queues when they first hold a vCPU: done before the baseline.
fn warm_up() {
    let outcome = crate::tests::hypercall_version::run();
    if let Err(verdict) = outcome {
        println!("HVTEST-NOTE warm-up: {verdict:?}");
    }
    let mut config = crate::child::config("warm-up");
    config.vcpus = 64;
    for _ in 0..2 {
        if let Err(status) = crate::host::create(&config) {
            println!("HVTEST-NOTE warm-up: {status:?}");
        }
    }
    crate::baseline::sweep();
}

fn one(test: &Test) -> Outcome {
    let before = Baseline::take()?;
    let outcome = (test.run)();
    let left = crate::baseline::sweep();
    let after = before.compare();
    outcome?;
    if left > 0 {
        return Err(failure!("{left} domains were left behind"));
    }
    after
}

fn report(name: &str, outcome: &Outcome) -> bool {
    match outcome {
        Ok(()) => println!("HVTEST {name} success"),
        Err(Verdict::Skip(text)) => println!("HVTEST {name} skip {text}"),
        Err(Verdict::Error(text)) => println!("HVTEST {name} error {text}"),
        Err(Verdict::Failure(text)) => println!("HVTEST {name} failure {text}"),
    }
    matches!(outcome, Ok(()) | Err(Verdict::Skip(_)))
}

fn chosen(cmdline: &str, name: &str) -> bool {
    let mut words = cmdline.split_whitespace().filter(|word| !word.contains('=')).peekable();
    words.peek().is_none() || words.any(|word| name.contains(word))
}
