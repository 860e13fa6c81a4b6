// SPDX-License-Identifier: MIT OR Apache-2.0
//! The storm of random exits, for as long as one likes:
//!
//!     cargo run --profile storm -p hv-storm -- --seconds 60
//!
//! `--exits N` and `--calls N` (hypercalls) end it by number. A panic, which is what it looks for, ends it
//! with the round's seed; `--seed 0xN` begins with that round.
#![forbid(unsafe_code)]

use hv_kernel::storm::{Done, run};
use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.replace('_', "").parse().ok(),
    }
}

fn main() -> ExitCode {
    let (mut seconds, mut exits, mut calls, mut seed) = (None, None, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().as_deref().and_then(number);
        match word.as_str() {
            "--seconds" if value.is_some() => seconds = value,
            "--exits" if value.is_some() => exits = value,
            "--calls" if value.is_some() => calls = value,
            "--seed" if value.is_some() => seed = value,
            _ => {
                eprintln!("usage: storm [--seconds N] [--exits N] [--calls N] [--seed N]");
                return ExitCode::from(2);
            }
        }
    }
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = seed.unwrap_or_else(|| nanos.map_or(1, |n| n.as_nanos() as u64));
    let counted = exits.is_some() || calls.is_some();
    let limit = Duration::from_secs(seconds.unwrap_or(if counted { u64::MAX } else { 60 }));
    let start = Instant::now();
    let told = Cell::new(start);
    println!("storm: seed {seed:#x}");
    let rate = |done: Done| done.exits as f64 / start.elapsed().as_secs_f64();
    let done = run(
        seed,
        &|done| {
            let made = done.exits >= exits.unwrap_or(u64::MAX);
            made || done.calls >= calls.unwrap_or(u64::MAX) || start.elapsed() >= limit
        },
        &|round, done| {
            if done.rounds == 0 || told.get().elapsed() >= Duration::from_secs(10) {
                told.set(Instant::now());
                println!(
                    "storm: {} exits, {:.0}/s; round of seed {round:#x}",
                    done.exits,
                    rate(done)
                );
            }
        },
    );
    println!(
        "storm: {} exits, {} hypercalls among them, in {} rounds, {:.0}/s",
        done.exits,
        done.calls,
        done.rounds,
        rate(done)
    );
    ExitCode::SUCCESS
}
