// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations of the core cost: each row does one of them many times
//! between two marks. `bench=all` on the command line runs every row,
//! `bench=bare` those that need no crowd of domains, `bench=NAME,NAME` those
//! whose names begin so.
//!
//! The runner prints `HVBENCH <row> <name> <operations> <ticks>...` for each,
//! `HVBENCH figure <name> <value>` for what is not counted but asked, and
//! `HVBENCH done <rows>` last; `cargo xtask bench` joins that with what the
//! plugin counted.

mod pair;
mod scale;
mod single;

use hv_abi::domain::state;
use hv_guest::bench::{RESULT, ROW, WINDOWS};
use hv_guest::start::end_machine;
use hv_guest::{Outcome, Verdict, apic, cpu, error, event, println};

use crate::child::{Child, Spec};

/// A row.
pub struct Row {
    name: &'static str,
    how: How,
}

/// Who does what.
enum How {
    /// One child measures itself.
    One(fn() -> Outcome),
    /// The same with this many vCPUs.
    Smp(u32, fn() -> Outcome),
    /// A child measures; another one is its partner.
    Two(fn() -> Outcome, fn() -> Outcome),
    /// The runner measures.
    Runner(fn(u64) -> Outcome<Measured>),
}

/// Operations in a window, and each window's ticks.
type Measured = (u64, [u64; WINDOWS]);

/// What the command line asks for.
pub fn wanted(cmdline: &'static str) -> Option<&'static str> {
    cmdline.split_whitespace().find_map(|word| word.strip_prefix("bench="))
}

/// Measures what is chosen, and ends the machine.
pub fn run(chosen: &str) -> ! {
    let mut good = true;
    if let Err(status) = event::setup() {
        println!("HVBENCH error event rings were refused: {status:?}");
        end_machine(false);
    }
    let is_chosen = |name: &str| match chosen {
        "all" => true,
        "bare" => !name.contains('@') && name != "memory",
        _ => chosen.split(',').any(|prefix| name.starts_with(prefix)),
    };
    let rows = single::ROWS.iter().chain(pair::ROWS).chain(scale::ROWS);
    let mut count = 0;
    for (number, row) in rows.enumerate().filter(|(_, row)| is_chosen(row.name)) {
        match one(number as u64, &row.how) {
            Ok((operations, [a, b, c])) => {
                println!("HVBENCH {number} {} {operations} {a} {b} {c}", row.name);
            }
            Err(Verdict::Skip(why)) => println!("HVBENCH skip {} {why}", row.name),
            Err(Verdict::Error(why) | Verdict::Failure(why)) => {
                println!("HVBENCH error {} {why}", row.name);
                good = false;
            }
        }
        count += 1;
        crate::baseline::sweep();
    }
    println!("HVBENCH done {count}");
    end_machine(good)
}

fn one(row: u64, how: &How) -> Outcome<Measured> {
    match how {
        How::One(main) => {
            let child = Child::new(*main)?;
            alone(row, child)
        }
        How::Smp(vcpus, main) => {
            let child = Child::with(&Spec { vcpus: *vcpus, ..Spec::new(*main) })?;
            alone(row, child)
        }
        How::Two(main, partner) => pair::run(row, *main, *partner),
        How::Runner(measure) => measure(row),
    }
}

fn alone(row: u64, child: Child) -> Outcome<Measured> {
    child.mail()?.tell(ROW, row);
    child.start()?;
    wait(&child)?;
    let measured = result(&child)?;
    child.destroy()?;
    Ok(measured)
}

/// Waits for a child's end asleep, so that it has the CPU for itself.
fn wait(child: &Child) -> Outcome {
    let end = cpu::tsc() + 60_000 * cpu::khz();
    while child.info()?.state & state::SHUTDOWN == 0 {
        if cpu::tsc() > end {
            return Err(error!("the child does not end"));
        }
        apic::sleep_us(300_000);
    }
    child.finish()
}

/// What a child that has ended left in its mailbox.
fn result(child: &Child) -> Outcome<Measured> {
    let mail = child.mail()?;
    let operations = mail.from(RESULT);
    if operations == 0 {
        return Err(error!("the child measured nothing"));
    }
    Ok((operations, core::array::from_fn(|i| mail.from(RESULT + 1 + i))))
}
