// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures of the interface, as C sees them.
//!
//! Each is listed with its fields and their C types. The list can't lie: a
//! field that is missing or misnamed does not compile (the pattern in `c!`
//! names all of them), and [`CStruct::misfit`] lays the C types out by the
//! x86-64 ABI's rules and compares every offset and the size with Rust's.

use std::mem::{offset_of, size_of};

use hv_abi::domain::{DomainConfig, DomainCounters, DomainInfo};
use hv_abi::event::EventStatus;
use hv_abi::grant::{GrantCopy, GrantEntry, GrantInfo, GrantMap, GrantPlace, GrantUnmap};
use hv_abi::host::{BatchEntry, HostInfo};
use hv_abi::memory::{ForeignRun, MemoryInfo, MemoryRange};
use hv_abi::start::StartInfo;
use hv_abi::vcpu::{ExitRecord, ExitTrace, Segment, Table, VcpuContext, VcpuInfo, VcpuRunState};

/// A field in C.
pub struct Field {
    pub name: &'static str,
    /// `__u64`, or `struct hvx_…` of an earlier entry.
    pub kind: &'static str,
    /// Length of an array, as it is written; empty for none.
    pub count: &'static str,
    /// Where Rust has it.
    pub offset: usize,
}

/// A structure in C.
pub struct CStruct {
    /// Without `struct`.
    pub name: &'static str,
    /// What it is, for the header's comment.
    pub about: &'static str,
    pub fields: Vec<Field>,
    /// Its size in Rust.
    pub size: usize,
}

macro_rules! c {
    ($name:literal $about:literal $type:ident { $($field:ident: $kind:literal $([$count:literal])?,)* }) => {{
        // Names every field, or does not compile.
        let _all = |$type { $($field: _),* }: $type| ();
        CStruct {
            name: $name,
            about: $about,
            fields: vec![$(Field {
                name: stringify!($field),
                kind: $kind,
                count: concat!($($count)?),
                offset: offset_of!($type, $field),
            }),*],
            size: size_of::<$type>(),
        }
    }};
}

/// Every structure, those that others contain first.
pub fn structs() -> Vec<CStruct> {
    vec![
        c!("hvx_start_info" "One page in a guest's memory; CPUID tells where." StartInfo {
            magic: "__u32", version: "__u32", console_gpa: "__u64", console_port: "__u32",
            vcpus: "__u32", devices_gpa: "__u64", devices: "__u32", flags: "__u32",
            uuid: "__u8" ["16"], name: "__u8" ["64"],
            bus_port: "__u32", reserved: "__u32",
        }),
        console_ring(),
        c!("hvx_foreign_run" "Answer of MEMORY_MAP." ForeignRun {
            machine: "__u64", pages: "__u64",
        }),
        c!("hvx_memory_range" "Answer of MEMORY_POOL." MemoryRange {
            start: "__u64", end: "__u64",
        }),
        c!("hvx_event_status" "Answer of EVENT_STATUS." EventStatus {
            kind: "__u32", remote: "__u32", remote_port: "__u32", vcpu: "__u32",
            priority: "__u32", word: "__u32",
        }),
        c!("hvx_domain_config" "Argument of DOMAIN_CREATE." DomainConfig {
            domain: "__u32", vcpus: "__u32", max_pages: "__u64", start_info: "__u64",
            max_ports: "__u32", weight: "__u32", cap: "__u32", flags: "__u32",
            uuid: "__u8" ["16"], name: "__u8" ["64"],
        }),
        c!("hvx_domain_info" "Answer of DOMAIN_INFO." DomainInfo {
            domain: "__u32", state: "__u32", reason: "__u32", vcpus: "__u32", code: "__u64",
            pages: "__u64", max_pages: "__u64", foreign_pages: "__u64", run_ns: "__u64",
            wait_ns: "__u64", exits: "__u64", hypercalls: "__u64", events: "__u64",
            ports: "__u32", weight: "__u32", cap: "__u32", fault_vcpu: "__u32",
            fault_rip: "__u64", uuid: "__u8" ["16"], name: "__u8" ["64"],
        }),
        c!("hvx_segment" "A segment register; rights as in a descriptor." Segment {
            selector: "__u16", rights: "__u16", limit: "__u32", base: "__u64",
        }),
        c!("hvx_table" "GDTR or IDTR." Table { base: "__u64", limit: "__u64", }),
        c!("hvx_vcpu_context" "Argument of VCPU_SET_CONTEXT, answer of VCPU_GET_CONTEXT."
           VcpuContext {
            gpr: "__u64" ["16"], rip: "__u64", rflags: "__u64", cr0: "__u64", cr2: "__u64",
            cr3: "__u64", cr4: "__u64", efer: "__u64", pat: "__u64", dr6: "__u64",
            dr7: "__u64", segments: "struct hvx_segment" ["8"], gdtr: "struct hvx_table",
            idtr: "struct hvx_table", syscall: "__u64" ["4"], kernel_gs_base: "__u64",
            sysenter: "__u64" ["3"], tsc_aux: "__u64", xcr0: "__u64", online: "__u32",
            reserved: "__u32",
        }),
        c!("hvx_vcpu_info" "Answer of VCPU_INFO; exits by HVX_EXIT_*." VcpuInfo {
            state: "__u32", cpu: "__u32", affinity: "__u64", run_ns: "__u64",
            wait_ns: "__u64", exits: "__u64" ["HVX_EXIT_CAUSES"],
        }),
        c!("hvx_exit_record" "One exit of a vCPU." ExitRecord {
            tsc: "__u64", rip: "__u64", cause: "__u32", cpu: "__u32", detail: "__u64",
        }),
        c!("hvx_exit_trace" "Answer of TRACE_READ." ExitTrace {
            total: "__u64", count: "__u64",
            records: "struct hvx_exit_record" ["HVX_TRACE_LEN"],
        }),
        c!("hvx_host_info" "Answer of HOST_INFO." HostInfo {
            cpus: "__u32", vendor: "__u32", tsc_khz: "__u64", uptime_ns: "__u64",
            total_pages: "__u64", pool_pages: "__u64", free_pages: "__u64",
            core_pages: "__u64", heap_used: "__u64", heap_size: "__u64", domains: "__u64",
            vcpus: "__u64", ports: "__u64", foreign_pages: "__u64", exits: "__u64",
            hypercalls: "__u64", grant_uses: "__u64", granted_pages: "__u64",
            claimed_pages: "__u64", version: "__u8" ["32"],
        }),
        c!("hvx_batch_entry" "One call of BATCH." BatchEntry {
            number: "__u64", args: "__u64" ["5"], value: "__u64", status: "__u32",
            reserved: "__u32",
        }),
        c!("hvx_vcpu_run_state" "Answer of VCPU_RUN_STATE." VcpuRunState {
            state: "__u32", cpu: "__u32", affinity: "__u64", affinity_soft: "__u64",
            run_ns: "__u64", wait_ns: "__u64",
        }),
        c!("hvx_domain_counters" "Answer of DOMAIN_COUNTERS; exits by HVX_EXIT_*."
           DomainCounters {
            exits: "__u64" ["HVX_EXIT_CAUSES"], hypercalls: "__u64", events: "__u64",
            events_sent: "__u64", ports: "__u64", pages: "__u64", claimed_pages: "__u64",
            foreign_pages: "__u64", granted_pages: "__u64", grant_uses: "__u64",
            grant_mappings: "__u64", grant_copies: "__u64", grant_bytes: "__u64",
        }),
        c!("hvx_memory_info" "Answer of MEMORY_QUERY." MemoryInfo {
            machine: "__u64", owner: "__u32", log2_pages: "__u32", access: "__u32",
            maps: "__u32", grants: "__u32", pins: "__u32",
        }),
        c!("hvx_grant_entry" "One entry of a grant table." GrantEntry {
            gpa: "__u64", len: "__u32", domain: "__u16", flags: "__u16", uses: "__u32",
            reserved: "__u32", cookie: "__u64",
        }),
        c!("hvx_grant_map" "One operation of GRANT_MAP." GrantMap {
            domain: "__u32", grant: "__u32", first: "__u32", pages: "__u32", flags: "__u32",
            status: "__u32", gpa: "__u64", handle: "__u32", reserved: "__u32",
        }),
        c!("hvx_grant_unmap" "One operation of GRANT_UNMAP." GrantUnmap {
            handle: "__u32", status: "__u32",
        }),
        c!("hvx_grant_place" "One side of a copy." GrantPlace {
            domain: "__u32", grant: "__u32", offset: "__u64",
        }),
        c!("hvx_grant_copy" "One operation of GRANT_COPY." GrantCopy {
            from: "struct hvx_grant_place", to: "struct hvx_grant_place", len: "__u32",
            status: "__u32",
        }),
        c!("hvx_grant_info" "Answer of GRANT_QUERY." GrantInfo {
            gpa: "__u64", len: "__u32", domain: "__u32", flags: "__u32", uses: "__u32",
        }),
    ]
}

/// The console ring has no Rust type: the two sides share bytes and atomics
/// at the offsets of `hv_abi::console`.
fn console_ring() -> CStruct {
    use hv_abi::console::offset;
    let field = |name, kind, count, offset| Field { name, kind, count, offset };
    CStruct {
        name: "hvx_console_ring",
        about: "One page shared by a guest and its console's backend.",
        fields: vec![
            field("in", "__u8", "HVX_CONSOLE_IN_LEN", offset::IN),
            field("out", "__u8", "HVX_CONSOLE_OUT_LEN", offset::OUT),
            field("in_consumed", "__u32", "", offset::IN_CONSUMED),
            field("in_produced", "__u32", "", offset::IN_PRODUCED),
            field("out_consumed", "__u32", "", offset::OUT_CONSUMED),
            field("out_produced", "__u32", "", offset::OUT_PRODUCED),
        ],
        size: offset::OUT_PRODUCED + 4,
    }
}

impl CStruct {
    /// The first place where a C compiler would see another layout than Rust
    /// does. `known` are the structures before this one, `number` evaluates
    /// the length of an array.
    pub fn misfit(
        &self,
        known: &[CStruct],
        number: impl Fn(&str) -> Option<usize>,
    ) -> Option<String> {
        let mut end = 0usize;
        let mut most = 1usize;
        for field in &self.fields {
            let Some((size, align)) = measure(field.kind, known) else {
                return Some(format!("{}: unknown type {}", self.name, field.kind));
            };
            let count = if field.count.is_empty() { Some(1) } else { number(field.count) };
            let Some(count) = count else {
                return Some(format!("{}: no number {}", self.name, field.count));
            };
            let at = end.next_multiple_of(align);
            if at != field.offset {
                let (name, rust) = (field.name, field.offset);
                return Some(format!("{}.{name}: at {at} in C, {rust} in Rust", self.name));
            }
            end = at + size * count;
            most = most.max(align);
        }
        let size = end.next_multiple_of(most);
        (size != self.size)
            .then(|| format!("{}: {size} bytes in C, {} in Rust", self.name, self.size))
    }
}

/// Size and alignment of a C type.
fn measure(kind: &str, known: &[CStruct]) -> Option<(usize, usize)> {
    let plain = match kind {
        "__u8" => 1,
        "__u16" => 2,
        "__u32" => 4,
        "__u64" => 8,
        _ => {
            let name = kind.strip_prefix("struct ")?;
            let inner = known.iter().find(|s| s.name == name)?;
            let aligns = inner.fields.iter().map(|f| measure(f.kind, known));
            let align = aligns.collect::<Option<Vec<_>>>()?.into_iter().map(|m| m.1).max()?;
            return Some((inner.size, align));
        }
    };
    Some((plain, plain))
}
