// SPDX-License-Identifier: MIT OR Apache-2.0
//! LogRead finds what ConsoleWrite wrote; TraceRead and VcpuInfo show a
//! guest's exits; the wall clock set by the control domain is a guest's.

use hv_abi::vcpu::{EXIT_CAUSES, ExitTrace, TRACE_LEN};
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa_mut};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, ok, println};
use zerocopy::FromZeros;

use crate::child::Child;
use crate::host;

const CLOCK: u64 = 1_700_000_000_000_000_000;

fn child() -> Outcome {
    for _ in 0..100 {
        cpu::cpuid(0x4000_0000, 0);
    }
    MAIL.answer(0, ok!(call(H::WallclockGet {})));
    check_eq!(call(H::Version {}).is_ok(), true);
    Ok(())
}

fn log() -> Outcome {
    let mut buffer = [0u8; 4096];
    let gpa = gpa_mut(&mut buffer);
    let end = ok!(call(H::LogRead { cursor: u64::MAX >> 16, gpa, len: 1 }));
    check_eq!(end & 0xffff, 0, "text behind the end");
    println!("a marker in the log");
    let read = ok!(call(H::LogRead { cursor: end >> 16, gpa, len: 4096 }));
    let len = (read & 0xffff) as usize;
    check!(len > 0 && read >> 16 == (end >> 16) + len as u64);
    // SAFETY: plain bytes that the core has written by address.
    let text = unsafe { core::slice::from_raw_parts(gpa as *const u8, len) };
    let text = ok!(core::str::from_utf8(text));
    check!(text.contains("a marker in the log"), "{text:?}");
    // A cursor long gone is moved to the oldest text.
    let read = ok!(call(H::LogRead { cursor: 0, gpa, len: 100 }));
    check_eq!(read & 0xffff, 100);
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    log()?;
    ok!(call(H::WallclockSet { nanoseconds: CLOCK }));
    let child = Child::new(child)?;
    child.start()?;
    child.finish()?;
    let clock = child.mail()?.from(0);
    check!((CLOCK..CLOCK + 60_000_000_000).contains(&clock), "the guest's clock: {clock}");

    let info = ok!(host::vcpu(child.id, 0));
    let count =
        |name: &str| EXIT_CAUSES.iter().position(|c| *c == name).map_or(0, |i| info.exits[i]);
    check!(count("cpuid") >= 100, "{} cpuid exits", count("cpuid"));
    check!(count("hypercall") >= 3, "{} hypercalls", count("hypercall"));
    check!(info.run_ns > 0);
    let mut trace = ExitTrace::new_zeroed();
    let gpa = gpa_mut(&mut trace);
    ok!(call(H::TraceRead { domain: child.id, vcpu: 0, gpa }));
    check_eq!(trace.count, trace.total.min(TRACE_LEN as u64));
    check_eq!(trace.total, info.exits.iter().sum::<u64>());
    let last = trace.records[trace.count as usize - 1];
    check_eq!((EXIT_CAUSES[last.cause as usize], last.detail), ("hypercall", 34));
    check!(trace.records.windows(2).all(|r| r[0].tsc <= r[1].tsc), "records out of order");
    check_eq!(call(H::TraceRead { domain: child.id, vcpu: 1, gpa }), Err(Status::NotFound));
    child.destroy()
}
