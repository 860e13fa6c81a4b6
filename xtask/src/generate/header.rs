// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C header of the interface, `ring-protocol/include/hvx_abi.h`.

use std::fmt::Write;

use anyhow::{Result, bail};
use hv_abi::{
    ABI_MAJOR, ABI_MINOR, DOM_CONTROL, DOM_SELF, HYPERCALLS, MAX_DOMAINS, MAX_VCPUS, Status,
    console, cpuid, domain, event, grant, host, memory, start, vcpu,
};

use super::layout::{CStruct, structs};

/// Longest text of one ConsoleWrite; its row in the call table says so too.
const CONSOLE_WRITE_MAX: u64 = 256;

/// How a number is written.
#[derive(Clone, Copy)]
enum Form {
    Decimal,
    Hex,
    Bit,
}

/// Lines of `#define`s under one comment.
struct Group {
    about: &'static str,
    lines: Vec<(String, String)>,
}

macro_rules! group {
    ($about:literal, $form:ident, $prefix:literal: $($name:ident = $value:expr),* $(,)?) => {
        Group {
            about: $about,
            lines: vec![$((
                concat!($prefix, stringify!($name)).to_owned(),
                number($value as u64, Form::$form),
            )),*],
        }
    };
    ($about:literal, $form:ident, $prefix:literal in $room:path: $($name:ident),* $(,)?) => {{
        use $room as room;
        group!($about, $form, $prefix: $($name = room::$name),*)
    }};
}

fn number(value: u64, form: Form) -> String {
    match form {
        Form::Decimal => value.to_string(),
        Form::Hex => format!("{value:#x}"),
        Form::Bit if value.is_power_of_two() => format!("(1U << {})", value.ilog2()),
        Form::Bit => format!("{value:#x}"),
    }
}

fn groups() -> Vec<Group> {
    vec![
        group!("Version of the interface", Decimal, "HVX_ABI_":
            MAJOR = ABI_MAJOR, MINOR = ABI_MINOR),
        leaves(),
        group!("Bits of ebx in HVX_CPUID_FEATURES", Bit, "HVX_FEATURE_" in cpuid::features:
            CONTROL, STABLE_TSC, GRANTS, POLL),
        calls(),
        statuses(),
        domains(),
        group!("State of a domain", Bit, "HVX_STATE_" in domain::state:
            PAUSED, SHUTDOWN, DYING, BLOCKED, RUNNING, NEW),
        group!("Why a domain stops", Decimal, "HVX_REASON_" in domain::reason:
            POWEROFF, REBOOT, SUSPEND, CRASH, WATCHDOG, TRIPLE_FAULT, MEMORY_FAULT, BAD_STATE),
        group!("Bits of a port word", Bit, "HVX_EVENT_" in event: PENDING, MASKED, LINKED),
        group!("Port words and rings", Decimal, "HVX_EVENT_" in event:
            LOG2_PORTS_MIN, LOG2_PORTS_MAX, PRIORITY_URGENT, PRIORITY_NORMAL, PRIORITIES),
        group!("What a port is joined with", Decimal, "HVX_PORT_" in event::kind:
            FREE, UNBOUND, JOINED, VIRQ, IPI),
        group!("Virtual interrupts", Decimal, "HVX_VIRQ_" in event::virq:
            DOMAIN_STATE, SHUTDOWN, LOG, COUNT),
        group!("State of a vCPU", Decimal, "HVX_VCPU_" in vcpu::run_state:
            OFFLINE, RUNNING, READY, BLOCKED, STOPPED),
        group!("Positions in the segments of struct hvx_vcpu_context", Decimal, "HVX_SEGMENT_"
            in vcpu::segment: ES, CS, SS, DS, FS, GS, LDTR, TR),
        causes(),
        group!("Virtualization in use", Decimal, "HVX_VENDOR_" in host::vendor: SVM, VMX),
        group!("Actions of HOST_POWER", Decimal, "HVX_POWER_" in host::power: HALT, RESTART),
        group!("Limits of a domain", Decimal, "HVX_LIMIT_" in domain::limit:
            PORTS, GRANTS, MAPPINGS, PAGES),
        group!("Keys of DEBUG_KEY", Decimal, "HVX_DEBUG_" in host::debug_key:
            DOMAINS, QUEUES, PORTS, GRANTS, MEMORY),
        group!("The most calls of one BATCH", Decimal, "HVX_" in host: BATCH_MAX),
        group!("Flags of a grant, and of its mapping", Bit, "HVX_GRANT_" in grant:
            VALID, READ_ONLY, COPY_ONLY),
        group!("Grant tables", Decimal, "HVX_GRANT_" in grant:
            LOG2_ENTRIES_MIN, LOG2_ENTRIES_MAX, OPS_PER_CALL, COPY_MAX, ADDRESS_ENTRY_SHIFT),
        Group {
            about: "Every grant; the flag of an address that names bytes of a grant",
            lines: vec![
                ("HVX_GRANT_ALL".into(), number(grant::ALL, Form::Hex)),
                ("HVX_GRANT_ADDRESS".into(), format!("(1ULL << {})", grant::ADDRESS_FLAG.ilog2())),
            ],
        },
        group!("What a domain may do with a page", Bit, "HVX_ACCESS_" in memory::access:
            READ, WRITE, EXECUTE),
        group!("The most pages that one call handles", Decimal, "HVX_" in memory:
            PAGES_PER_CALL),
        group!("The most bytes that one console_write takes", Decimal, "HVX_":
            CONSOLE_WRITE_MAX = CONSOLE_WRITE_MAX),
        Group {
            about: "Start info",
            lines: vec![
                ("HVX_START_INFO_MAGIC".into(), format!("{:#x}\t/* \"HVSI\" */", start::MAGIC)),
                ("HVX_START_INFO_VERSION".into(), start::VERSION.to_string()),
            ],
        },
        group!("Console ring", Decimal, "HVX_CONSOLE_" in console: IN_LEN, OUT_LEN),
    ]
}

fn leaves() -> Group {
    let mut group = group!("CPUID leaves", Hex, "HVX_CPUID_":
        BASE = cpuid::LEAF_BASE,
        FEATURES = cpuid::LEAF_FEATURES,
        START_INFO = cpuid::LEAF_START_INFO,
        TIMING = cpuid::LEAF_TIMING);
    let signature = String::from_utf8_lossy(&cpuid::SIGNATURE);
    group.lines.push(("HVX_CPUID_SIGNATURE".into(), format!("\"{signature}\"")));
    group
}

fn calls() -> Group {
    let line =
        |name: &str, number: u32| (format!("HVX_CALL_{}", name.to_uppercase()), number.to_string());
    let lines = HYPERCALLS.iter().map(|row| line(row.name, row.number)).collect();
    Group { about: "Hypercall numbers", lines }
}

fn statuses() -> Group {
    let line = |s: &Status| {
        (format!("HVX_STATUS_{}", screaming(&format!("{s:?}"))), (*s as u32).to_string())
    };
    Group { about: "Answers in rax", lines: Status::ALL.iter().map(line).collect() }
}

fn domains() -> Group {
    let mut group = group!("Domain numbers", Decimal, "HVX_": DOM_CONTROL = DOM_CONTROL);
    group.lines.push(("HVX_DOM_SELF".into(), number(DOM_SELF, Form::Hex)));
    group.lines.push(("HVX_MAX_DOMAINS".into(), MAX_DOMAINS.to_string()));
    group.lines.push(("HVX_MAX_VCPUS".into(), MAX_VCPUS.to_string()));
    group
}

fn causes() -> Group {
    let names = vcpu::EXIT_CAUSES.iter().enumerate();
    let mut lines: Vec<_> = names
        .map(|(i, name)| {
            (format!("HVX_EXIT_{}", name.to_uppercase().replace('-', "_")), i.to_string())
        })
        .collect();
    lines.push(("HVX_EXIT_CAUSES".into(), vcpu::EXIT_CAUSES.len().to_string()));
    lines.push(("HVX_TRACE_LEN".into(), vcpu::TRACE_LEN.to_string()));
    Group { about: "Causes of exits, and how many exits a trace keeps", lines }
}

/// `NotFound` → `NOT_FOUND`.
pub fn screaming(camel: &str) -> String {
    let mut text = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_uppercase());
    }
    text
}

const HEAD: &str = "\
/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a domain and the core must agree on.
 *
 * Generated by `cargo xtask generate` from ring-protocol/abi; do not edit.
 *
 * A hypercall is VMCALL (Intel) or VMMCALL (AMD) from CPL 0 with its number
 * in rax and up to five arguments in rdi, rsi, rdx, r10 and r8. The core
 * answers with a status in rax and one value in rdx and changes no other
 * register. Structures are passed by guest-physical address.
 */
#ifndef HVX_ABI_H
#define HVX_ABI_H

#include <linux/types.h>
";

/// The whole header.
pub fn text() -> Result<String> {
    let groups = groups();
    let structs = structs();
    let value = |name: &str| {
        let plain = name.parse().ok();
        let defined = || {
            let lines = groups.iter().flat_map(|g| &g.lines);
            lines.into_iter().find(|l| l.0 == name).and_then(|l| l.1.parse().ok())
        };
        plain.or_else(defined)
    };
    if let Some(wrong) = structs.iter().find_map(|s| s.misfit(&structs, value)) {
        bail!("the C structures are not the Rust ones: {wrong}");
    }
    let mut out = HEAD.to_owned();
    for group in &groups {
        writeln!(out, "\n/* {} */", group.about)?;
        for (name, value) in &group.lines {
            let tabs = "\t".repeat((40usize.saturating_sub(8 + name.len())).div_ceil(8).max(1));
            writeln!(out, "#define {name}{tabs}{value}")?;
        }
    }
    for s in &structs {
        structure(&mut out, s)?;
    }
    out.push_str("\n#endif /* HVX_ABI_H */\n");
    Ok(out)
}

fn structure(out: &mut String, s: &CStruct) -> Result<()> {
    writeln!(out, "\n/* {} */\nstruct {} {{", s.about, s.name)?;
    for f in &s.fields {
        let count = if f.count.is_empty() { String::new() } else { format!("[{}]", f.count) };
        writeln!(out, "\t{} {}{count};", f.kind, f.name)?;
    }
    writeln!(out, "}};")?;
    writeln!(out, "_Static_assert(sizeof(struct {}) == {}, \"{}\");", s.name, s.size, s.name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_length_of_a_console_line_is_what_the_table_says() {
        let row = HYPERCALLS.iter().find(|r| r.name == "console_write").unwrap();
        assert!(row.doc.contains(&format!("up to {CONSOLE_WRITE_MAX} bytes")), "{}", row.doc);
    }

    #[test]
    fn names_are_c_names() {
        assert_eq!(screaming("NotFound"), "NOT_FOUND");
        assert_eq!(screaming("Ok"), "OK");
        assert_eq!(number(1 << 31, Form::Bit), "(1U << 31)");
    }

    #[test]
    fn a_c_compiler_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.c");
        std::fs::write(&file, text().unwrap()).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only"]).arg(&file);
        let Ok(out) = cc.stderr(Stdio::piped()).output() else {
            return; // no C compiler on this machine
        };
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() || said.contains("linux/types.h"), "{said}");
    }
}
