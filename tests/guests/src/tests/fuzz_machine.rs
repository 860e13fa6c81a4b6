// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything at random, by two vCPUs at once: hypercalls, MSRs, ports, CPUID
//! leaves, memory, control registers, odd instructions ([`crate::fuzz`]). The
//! core answers each, the audit finds nothing after each round, and another
//! guest that works all the while notices nothing.
//!
//! A round is one guest with one program; it may end early by what it does to
//! itself. `fuzz=N` on the runner's command line says how many operations,
//! `fuzz_seed=0xN` which programs; both are in the log, and the round's own
//! seed is in a failure's text. `fuzz_kinds=0xN` leaves only some kinds of
//! operations ([`Kind`]), to find out which one matters.

use hv_abi::domain::{DomainInfo, reason, state};
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, Verdict, check, cpu, failure, ok, println, start};

use crate::child::{Child, EXTENT, Spec};
use crate::fuzz::bystander::{self, ROUNDS, STOP};
use crate::fuzz::{self, Kind, SCRATCH, Tape, word};
use crate::host;

/// Operations when nobody says.
const OPERATIONS: u64 = 20_000;
/// Of them in one round, by each of its two vCPUs.
const ROUND: u64 = 20_000;
/// Milliseconds without any operation after which a round hangs.
const STALL: u64 = 60_000;

/// The last round's operations.
fn progress(child: &Child) -> Outcome<u64> {
    let mail = child.mail()?;
    Ok(mail.from(word::DONE) + mail.from(word::DONE + 1))
}

/// Waits until the round's guest has stopped.
fn watch(child: &Child) -> Outcome<DomainInfo> {
    let (mut last, mut end) = (0, cpu::tsc() + STALL * cpu::khz());
    loop {
        let info = child.info()?;
        if info.state & state::SHUTDOWN != 0 {
            return Ok(info);
        }
        let now = progress(child)?;
        if now != last {
            (last, end) = (now, cpu::tsc() + STALL * cpu::khz());
        }
        if cpu::tsc() > end {
            let _ = child.pause();
            let at = [0, 1].map(|v| host::context(child.id, v).map_or(0, |c| c.rip));
            return Err(failure!("no operation for a minute; the vCPUs are at {at:x?}"));
        }
        let _ = call(H::SchedYield {});
    }
}

/// One guest with the program of `seed`; how many operations it did, and why
/// it ended.
fn round(seed: u64, operations: u64) -> Outcome<(u64, u32)> {
    let spec = Spec { vcpus: 3, spare: 2 * EXTENT, ..Spec::new(fuzz::main) };
    let child = Child::with(&spec)?;
    ok!(host::populate(child.id, SCRATCH, 2 * EXTENT));
    child.mail()?.tell(word::SEED, seed);
    child.mail()?.tell(word::OPERATIONS, operations);
    let kinds = start::parameter("fuzz_kinds").unwrap_or(Kind::ALL);
    check!(kinds & Kind::ALL != 0, "fuzz_kinds={kinds:#x} names none");
    child.mail()?.tell(word::KINDS, kinds);
    child.start()?;
    let info = watch(&child)?;
    let done = progress(&child)?;
    let mail = child.mail()?;
    let kind = mail.from(word::BAD_KIND);
    check!(
        kind == 0,
        "kind {kind}: {:#x} gave {:#x}",
        mail.from(word::BAD_WHAT),
        mail.from(word::BAD_GOT)
    );
    match info.reason {
        reason::BAD_STATE => {
            return Err(failure!("the CPU refused a state, code {:#x}", info.code));
        }
        reason::POWEROFF => child.verdict(&info)?,
        // What it did to itself.
        _ => {}
    }
    child.destroy()?;
    Ok((done, info.reason))
}

/// The seed in a verdict's text.
fn named(seed: u64, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Failure(text) => failure!("fuzz_seed={seed:#x}: {text}"),
        other => other,
    }
}

/// The runner's part.
pub fn run() -> Outcome {
    let total = start::parameter("fuzz").unwrap_or(OPERATIONS);
    let first = start::parameter("fuzz_seed").unwrap_or_else(|| Tape::new(cpu::tsc()).word());
    println!("fuzz_machine: {total} operations, fuzz_seed={first:#x}");

    let other = Child::with(&Spec { spare: EXTENT, ..Spec::new(bystander::main) })?;
    ok!(host::populate(other.id, SCRATCH, EXTENT));
    other.start()?;
    other.wait_for(ROUNDS, 1)?;

    let (mut done, mut rounds, mut ends) = (0, 0u64, [0u64; 8]);
    let mut seed = first;
    while done < total {
        let seen = other.mail()?.from(ROUNDS);
        let each = ROUND.min((total - done).div_ceil(2));
        let (count, why) = round(seed, each).map_err(|v| named(seed, v))?;
        let count_of = ends.get_mut(why as usize);
        check!(count_of.is_some(), "fuzz_seed={seed:#x}: ended for the unknown reason {why}");
        count_of.into_iter().for_each(|n| *n += 1);
        check!(call(H::Audit {}) == Ok(0), "fuzz_seed={seed:#x}: the audit found something");
        other.wait_for(ROUNDS, seen + 1).map_err(|v| named(seed, v))?;
        done += count.max(1);
        rounds += 1;
        seed = Tape::new(first.wrapping_add(rounds)).word();
    }
    println!("fuzz_machine: {done} operations in {rounds} rounds, ends by reason {ends:?}");
    let seen = other.mail()?.from(ROUNDS);
    println!("fuzz_machine: the bystander did {seen} rounds");
    other.mail()?.tell(STOP, 1);
    other.finish()?;
    let gone = call(H::DomainInfo { at_or_after: other.id + 1, gpa: 0 });
    check!(gone == Err(Status::NotFound), "a round's guest is still there: {gone:?}");
    other.destroy()
}
