// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual page of the hypercalls: a section per row of the table, with
//! the statuses that its handler gives besides `Ok`.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use hv_abi::Status::{
    self, Again, Busy, Denied, Dying, Exists, Fault, Invalid, Limit, NoMemory, NotFound, State,
};
use hv_abi::{ABI_MAJOR, ABI_MINOR, Caller, HYPERCALLS, HypercallInfo};

use super::page_head;

/// Registers of the arguments, in order.
const REGISTERS: [&str; 5] = ["rdi", "rsi", "rdx", "r10", "r8"];

/// Sections of the page: the first number of each, and its title.
const PARTS: &[(u32, &str)] = &[
    (0, "The domain itself"),
    (16, "Events"),
    (32, "Giving up the CPU"),
    (48, "vCPUs"),
    (64, "Domains"),
    (80, "Memory"),
    (96, "The host"),
    (112, "Grants"),
];

/// What each call may answer besides `Ok`, by name. `Denied` of the calls
/// that are the control domain's is not listed: it follows from the class.
const REFUSALS: &[(&str, &[Status])] = &[
    ("version", &[]),
    ("console_write", &[Invalid, Fault]),
    ("wallclock_get", &[]),
    ("wallclock_set", &[]),
    ("features", &[]),
    ("event_words", &[Invalid, State, Fault, NoMemory]),
    ("event_ring", &[Invalid, NotFound, State, Fault, NoMemory]),
    ("event_upcall", &[Invalid, NotFound]),
    ("event_alloc", &[Denied, NotFound, Dying, Limit]),
    ("event_bind", &[Denied, NotFound, Dying, Limit, Busy]),
    ("event_bind_virq", &[Denied, Invalid, NotFound, Limit, Exists]),
    ("event_bind_ipi", &[NotFound, Limit]),
    ("event_send", &[Invalid, NotFound]),
    ("event_close", &[NotFound]),
    ("event_target", &[Invalid, NotFound]),
    ("event_unmask", &[NotFound, State]),
    ("event_status", &[Denied, NotFound, Fault]),
    ("event_reset", &[Denied, NotFound, Again]),
    ("sched_yield", &[]),
    ("sched_block", &[]),
    ("sched_shutdown", &[Invalid]),
    ("notify_and_block", &[Invalid, NotFound]),
    ("sched_poll", &[Invalid, NotFound, State, Fault]),
    ("sched_watchdog", &[Invalid]),
    ("vcpu_set_context", &[Invalid, NotFound, State, Fault, Dying]),
    ("vcpu_get_context", &[Invalid, NotFound, State, Fault, Dying]),
    ("vcpu_info", &[NotFound, Fault]),
    ("vcpu_affinity", &[Invalid, NotFound]),
    ("vcpu_start", &[Denied, Invalid, NotFound, State, Dying]),
    ("vcpu_stop", &[Denied, Invalid, NotFound, State, Dying]),
    ("vcpu_run_state", &[Denied, NotFound, Fault]),
    ("vcpu_affinity_soft", &[Invalid, NotFound]),
    ("domain_create", &[Invalid, NoMemory, Exists, Limit, Fault]),
    ("domain_destroy", &[Invalid, NotFound, Again]),
    ("domain_pause", &[Invalid, NotFound, Limit]),
    ("domain_unpause", &[NotFound, State, Dying]),
    ("domain_info", &[NotFound, Fault]),
    ("domain_shutdown", &[Invalid, NotFound]),
    ("shutdown_request", &[]),
    ("domain_weight", &[Invalid, NotFound]),
    ("domain_limit", &[Invalid, NotFound, State]),
    ("domain_counters", &[Denied, NotFound, Fault]),
    ("memory_populate", &[Invalid, NotFound, NoMemory, Exists, Limit, Dying]),
    ("memory_release", &[Invalid, NotFound, NoMemory, Busy]),
    ("memory_map", &[Invalid, NotFound, NoMemory, Fault, Dying]),
    ("memory_unmap", &[Invalid, NotFound]),
    ("memory_pool", &[NotFound, Fault]),
    ("memory_claim", &[Invalid, NotFound, NoMemory, Dying]),
    ("memory_query", &[Denied, Invalid, NotFound, Fault, Dying]),
    ("memory_increase", &[Invalid, NoMemory, Exists, Limit]),
    ("host_info", &[Fault]),
    ("log_read", &[Invalid, Fault]),
    ("trace_read", &[NotFound, Fault]),
    ("audit", &[]),
    ("host_power", &[Invalid]),
    ("debug_key", &[Invalid]),
    ("batch", &[Invalid, Fault]),
    ("grant_table", &[Invalid, State, Fault, NoMemory, Limit]),
    ("grant_map", &[Invalid, Fault]),
    ("grant_unmap", &[Invalid, Fault]),
    ("grant_copy", &[Invalid, Fault]),
    ("grant_query", &[Denied, NotFound, Fault, Dying]),
    ("grant_revoke", &[Denied, Invalid, NotFound, Busy, Again, Dying]),
];

const HEAD: &str = "\
A hypercall is `VMCALL` (Intel) or `VMMCALL` (AMD), executed at CPL 0, with its
number in `rax` and up to five arguments in `rdi rsi rdx r10 r8`. The core
answers with a [status](status.md) in `rax` and one value in `rdx`, and changes
no other register. From user mode the instruction is an invalid opcode (#UD).

An argument named `gpa` or `out_gpa` is a guest-physical address of the
caller's own memory; the structures are those of
[`hvx_abi.h`](../../../ring-protocol/include/hvx_abi.h). Where a call takes a
domain, 0xffff stands for the caller if its text says so. A status that is not
`Ok` comes with the value 0 and means, unless the text says otherwise, that
nothing was done. Every call that a core does not know answers `NoCall`.
";

/// The page.
pub fn page() -> Result<String> {
    complete()?;
    let mut out = page_head("Hypercalls", "ring-protocol/abi/src/call.rs");
    writeln!(out, "Interface version {ABI_MAJOR}.{ABI_MINOR} ([changelog](abi-changelog.md)).\n")?;
    writeln!(out, "{HEAD}\n| Number | Call | Who |\n|---|---|---|")?;
    for row in HYPERCALLS {
        let call = format!("[`{}`](#{})", signature(row), row.name);
        writeln!(out, "| {} | {call} | {} |", row.number, who(row))?;
    }
    let mut parts = PARTS.iter().peekable();
    for row in HYPERCALLS {
        while let Some((_, title)) = parts.next_if(|part| part.0 <= row.number) {
            writeln!(out, "\n## {title}")?;
        }
        entry(&mut out, row)?;
    }
    Ok(out)
}

fn signature(row: &HypercallInfo) -> String {
    format!("{}({})", row.name, row.args.join(", "))
}

fn who(row: &HypercallInfo) -> &'static str {
    match row.caller {
        Caller::Any => "every domain",
        Caller::Control => "control domain",
    }
}

fn entry(out: &mut String, row: &HypercallInfo) -> Result<()> {
    writeln!(out, "\n### {}\n\n{}\n", row.name, row.doc)?;
    writeln!(out, "- Number {} (`HVX_CALL_{}`)", row.number, row.name.to_uppercase())?;
    let args: Vec<_> =
        row.args.iter().zip(REGISTERS).map(|(a, r)| format!("`{a}` in `{r}`")).collect();
    let args = if args.is_empty() { "none".to_owned() } else { args.join(", ") };
    writeln!(out, "- Arguments: {args}")?;
    writeln!(out, "- Caller: {}", who(row))?;
    let mut statuses = vec![Status::Ok];
    if row.caller == Caller::Control {
        statuses.push(Denied);
    }
    statuses.extend(refusals(row.name).context("a call without a list of statuses")?);
    let names: Vec<_> = statuses.iter().map(|s| format!("`{s:?}`")).collect();
    writeln!(out, "- Statuses: {}", names.join(", "))?;
    Ok(())
}

fn refusals(name: &str) -> Option<&'static [Status]> {
    REFUSALS.iter().find(|r| r.0 == name).map(|r| r.1)
}

/// The list has exactly the table's calls, and no status that the text of a
/// call promises is missing.
fn complete() -> Result<()> {
    for row in HYPERCALLS {
        let listed = refusals(row.name)
            .with_context(|| format!("list the statuses of {} in generate/calls.rs", row.name))?;
        for status in Status::ALL {
            let promised = format!("{} ", row.doc).contains(&format!("; {status:?} when"))
                || row.doc.contains(&format!(". {status:?} when"));
            if promised && !listed.contains(&status) {
                bail!("{}: the text promises {status:?}, generate/calls.rs does not", row.name);
            }
        }
    }
    for (name, _) in REFUSALS {
        if !HYPERCALLS.iter().any(|row| row.name == *name) {
            bail!("generate/calls.rs lists {name}, which is no hypercall");
        }
    }
    Ok(())
}
