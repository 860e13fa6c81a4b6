// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the core knows, as text in its log, for people who look for a fault:
//! one key for each room. A key answers how many lines it wrote.

use crate::domain::{Domain, run, table};
use crate::memory::pool;
use crate::outcome::Answer;
use crate::per_cpu;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::Status;
use hv_abi::event::kind;
use hv_abi::host::debug_key;
use hv_abi::vcpu::run_state;
use hv_hal::addr::CpuId;
use hv_hal::cpu;

/// Lines that a key writes at the most: the log must keep what was before.
const MOST: u64 = 400;

/// Counts lines, and drops those that are too many.
struct Lines(u64);

impl Lines {
    fn put(&mut self, text: core::fmt::Arguments<'_>) {
        self.0 += 1;
        match self.0 {
            MOST => log::info!("debug: and more"),
            n if n < MOST => log::info!("debug: {text}"),
            _ => {}
        }
    }
}

/// DebugKey.
pub fn write(key: u64) -> Answer {
    let each: fn(&Arc<Domain>, &mut Lines) = match key {
        debug_key::DOMAINS => domain,
        debug_key::QUEUES => nothing,
        debug_key::PORTS => ports,
        debug_key::GRANTS => grants,
        debug_key::MEMORY => memory,
        _ => return Err(Status::Invalid),
    };
    let mut lines = Lines(0);
    match key {
        debug_key::QUEUES => queues(&mut lines),
        debug_key::MEMORY => {
            let (total, free) = pool::stats();
            lines
                .put(format_args!("pool: {total} pages, {free} free, {} claimed", pool::claimed()));
        }
        _ => {}
    }
    table::each(&mut |domain| each(domain, &mut lines));
    Ok(lines.0.min(MOST))
}

fn nothing(_: &Arc<Domain>, _: &mut Lines) {}

fn domain(domain: &Arc<Domain>, lines: &mut Lines) {
    let stop = *domain.stopped.lock();
    lines.put(format_args!(
        "d{} \"{}\": {} pauses, {}{}stopped {stop:?}, weight {} cap {}",
        domain.id,
        domain.label(),
        domain.pauses.load(Ordering::SeqCst),
        if domain.is_dying() { "dying, " } else { "" },
        if run::any_running(domain) { "running, " } else { "" },
        domain.weight.load(Ordering::Relaxed),
        domain.cap.load(Ordering::Relaxed),
    ));
    for vcpu in &domain.vcpus {
        lines.put(format_args!(
            "  vCPU {}: {} on CPU {}, affinity {:#x} soft {:#x}, signals {:#x}, {} exits",
            vcpu.index,
            state(vcpu.state()),
            vcpu.last_cpu().0,
            vcpu.affinity.load(Ordering::Relaxed),
            vcpu.affinity_soft.load(Ordering::Relaxed),
            vcpu.signals.load(Ordering::Relaxed),
            vcpu.trace.total(),
        ));
    }
}

fn state(state: u32) -> &'static str {
    match state {
        run_state::OFFLINE => "offline",
        run_state::RUNNING => "running",
        run_state::READY => "ready",
        run_state::BLOCKED => "blocked",
        _ => "stopped",
    }
}

fn queues(lines: &mut Lines) {
    for id in (0..cpu::count()).map(CpuId) {
        let Some(cpu) = per_cpu::of(id) else { continue };
        lines.put(format_args!(
            "CPU {}: {}{} ready, next wake {:#x}, armed {:#x}, {} entries",
            id.0,
            if cpu.idle.load(Ordering::Relaxed) { "idle, " } else { "" },
            cpu.ready.load(Ordering::Relaxed),
            cpu.next_wake.load(Ordering::Relaxed),
            cpu.armed.load(Ordering::Relaxed),
            cpu.entries.load(Ordering::Relaxed) / 2,
        ));
    }
}

fn ports(domain: &Arc<Domain>, lines: &mut Lines) {
    let used = domain.ports.used.load(Ordering::Relaxed);
    lines.put(format_args!("d{}: {used} ports of {}", domain.id, domain.ports.len()));
    for port in 1..domain.ports.len() {
        let Ok(status) = crate::event::ports::status(domain, port.into()) else { continue };
        let what = match status.kind {
            kind::FREE => continue,
            kind::UNBOUND => "waits for",
            kind::JOINED => "joined with",
            kind::VIRQ => "virtual interrupt",
            _ => "own",
        };
        lines.put(format_args!(
            "  port {port}: {what} d{} {}, vCPU {} priority {}, word {:#x}",
            status.remote, status.remote_port, status.vcpu, status.priority, status.word
        ));
    }
}

fn grants(domain: &Arc<Domain>, lines: &mut Lines) {
    let grants = &domain.grants;
    lines.put(format_args!(
        "d{}: {} uses of its grants, {} of its pages mapped; holds {} mappings; {} copies",
        domain.id,
        grants.uses.load(Ordering::Relaxed),
        grants.pages.load(Ordering::Relaxed),
        grants.held.load(Ordering::Relaxed),
        grants.copies.load(Ordering::Relaxed),
    ));
    if let Some(table) = grants.table.get() {
        for (grant, uses, by) in table.in_use() {
            lines.put(format_args!("  grant {grant}: {uses} uses by d{by}"));
        }
    }
    for mapping in grants.mappings.lock().iter() {
        let (gpa, pages) = mapping.place();
        let (granter, grant) = (mapping.granter(), mapping.grant());
        lines.put(format_args!("  {pages} pages at {gpa:#x}: grant {grant} of d{granter}"));
    }
}

fn memory(domain: &Arc<Domain>, lines: &mut Lines) {
    let memory = &domain.memory;
    lines.put(format_args!(
        "d{}: {} pages of {}, {} claimed, {} table pages, {} mapped by the control domain",
        domain.id,
        memory.pages.load(Ordering::Relaxed),
        memory.max_pages.load(Ordering::Relaxed),
        memory.claim.pages(),
        memory.stage2.read().table_pages(),
        memory.foreign.load(Ordering::Relaxed),
    ));
}
