// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers as text.

use crate::style::Paint;
use crate::table::Side::{Left, Right};
use crate::table::{Table, pairs};
use hv_toolstack::api::{Disk, Doctor, Domain, Event, Host, Network, Trace, Vcpu};
use hv_toolstack::units::{format_cpu_time, format_size, format_uptime};

fn mib(bytes: u64) -> String {
    (bytes >> 20).to_string()
}

/// `hvctl list`.
pub fn domains(domains: &[Domain], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("Name", Left),
        ("Id", Right),
        ("State", Left),
        ("Mem(MiB)", Right),
        ("vCPUs", Right),
        ("Time", Right),
        ("Reason", Left),
    ]);
    for d in domains {
        table.row(vec![
            d.name.clone(),
            d.id.to_string(),
            d.state.clone(),
            mib(d.memory_bytes),
            d.vcpus.to_string(),
            format_cpu_time(d.cpu_ns),
            d.reason.clone().unwrap_or_default(),
        ]);
    }
    table.text(paint)
}

/// `hvctl sched`.
pub fn sched(domains: &[Domain], paint: Paint) -> String {
    let mut table = Table::new(&[("Name", Left), ("Id", Right), ("Weight", Right), ("Cap", Right)]);
    for d in domains {
        let cap = match d.cap {
            0 => "none".into(),
            cap => format!("{cap}%"),
        };
        table.row(vec![d.name.clone(), d.id.to_string(), d.weight.to_string(), cap]);
    }
    table.text(paint)
}

/// `hvctl vcpu-list`.
pub fn vcpus(vcpus: &[Vcpu], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("Name", Left),
        ("Id", Right),
        ("vCPU", Right),
        ("State", Left),
        ("CPU", Right),
        ("Time", Right),
        ("Waited", Right),
        ("Exits", Right),
        ("Affinity", Left),
    ]);
    for v in vcpus {
        table.row(vec![
            v.name.clone(),
            v.domain.to_string(),
            v.vcpu.to_string(),
            v.state.clone(),
            v.cpu.to_string(),
            format_cpu_time(v.cpu_ns),
            format_cpu_time(v.wait_ns),
            v.exits.values().sum::<u64>().to_string(),
            v.affinity.to_string(),
        ]);
    }
    table.text(paint)
}

/// `hvctl block-list`.
pub fn disks(disks: &[Disk], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("Disk", Left),
        ("Slot", Right),
        ("State", Left),
        ("Size", Right),
        ("Read", Right),
        ("Written", Right),
        ("Errors", Right),
        ("Image", Left),
        ("Reason", Left),
    ]);
    for d in disks {
        let figure = |name: &str| d.stats[name].as_u64();
        let size = |name: &str| figure(name).map_or_else(String::new, format_size);
        table.row(vec![
            d.name.clone(),
            d.slot.map_or_else(String::new, |slot| slot.to_string()),
            d.state.clone(),
            size("capacity_bytes"),
            size("read_bytes"),
            size("write_bytes"),
            figure("errors").map_or_else(String::new, |n| n.to_string()),
            d.spec.path.display().to_string(),
            d.reason.clone().unwrap_or_default(),
        ]);
    }
    table.text(paint)
}

/// Where a card is connected to.
fn place(card: &Network) -> String {
    match (&card.spec.bridge, card.address) {
        (Some(bridge), _) => bridge.clone(),
        (None, Some(address)) => format!("nat {address}"),
        (None, None) => "nat".into(),
    }
}

/// `hvctl network-list`.
pub fn networks(networks: &[Network], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("Card", Left),
        ("Slot", Right),
        ("State", Left),
        ("Link", Left),
        ("Address", Left),
        ("Network", Left),
        ("Tap", Left),
        ("Sent", Right),
        ("Received", Right),
        ("Refused", Right),
        ("Lost", Right),
        ("Reason", Left),
    ]);
    for card in networks {
        let figure = |way: &str, name: &str| card.stats[way][name].as_u64();
        let packets = |way| figure(way, "packets").map_or_else(String::new, |n| n.to_string());
        let sum = |names: &[&str]| {
            let all = ["send", "receive"].iter().flat_map(|w| names.iter().map(move |n| (*w, *n)));
            all.filter_map(|(way, name)| figure(way, name)).sum::<u64>().to_string()
        };
        table.row(vec![
            card.name.clone(),
            card.slot.map_or_else(String::new, |slot| slot.to_string()),
            card.state.clone(),
            if card.spec.link { "up" } else { "down" }.into(),
            card.spec.mac.map_or_else(String::new, |mac| mac.to_string()),
            place(card),
            card.tap.clone(),
            packets("send"),
            packets("receive"),
            sum(&["spoofed", "malformed"]),
            sum(&["dropped"]),
            card.reason.clone().unwrap_or_default(),
        ]);
    }
    table.text(paint)
}

/// `hvctl uptime`.
pub fn uptimes(rows: impl Iterator<Item = Vec<String>>, paint: Paint) -> String {
    let mut table = Table::new(&[("Name", Left), ("Id", Right), ("Uptime", Right)]);
    rows.for_each(|row| table.row(row));
    table.text(paint)
}

/// `hvctl info DOMAIN`.
pub fn domain(d: &Domain, paint: Paint) -> String {
    let mut lines = vec![
        ("name", d.name.clone()),
        ("id", d.id.to_string()),
        ("uuid", d.uuid.to_string()),
        ("state", paint.state(&d.state, &d.state)),
    ];
    if let Some(why) = &d.reason_text {
        let what = if d.reason.as_deref() == Some("io-error") {
            "held because"
        } else {
            "stopped because"
        };
        lines.push((what, why.clone()));
    }
    lines.extend([
        ("memory", format!("{} MiB of {} MiB", mib(d.memory_bytes), mib(d.max_memory_bytes))),
        ("vcpus", d.vcpus.to_string()),
        ("cpu time", format_cpu_time(d.cpu_ns)),
        ("waited for a cpu", format_cpu_time(d.wait_ns)),
        ("weight", d.weight.to_string()),
        ("cap", if d.cap == 0 { "none".into() } else { format!("{}%", d.cap) }),
        ("exits", d.exits.to_string()),
        ("hypercalls", d.hypercalls.to_string()),
        ("events", d.events.to_string()),
        ("ports", d.ports.to_string()),
        ("mapped pages", d.foreign_pages.to_string()),
        ("restarts", d.restarts.to_string()),
        ("made by hvd", if d.managed { "yes".into() } else { "no".into() }),
    ]);
    if let Some(spec) = &d.spec {
        lines.push(("kernel", spec.kernel.display().to_string()));
        if let Some(initrd) = &spec.initrd {
            lines.push(("initrd", initrd.display().to_string()));
        }
        lines.push(("cmdline", spec.kernel_cmdline()));
    }
    for disk in &d.disks {
        let state = paint.state(&disk.state, &disk.state);
        lines.push(("disk", format!("{} ({}), {state}", disk.name, disk.spec.path.display())));
    }
    for card in &d.networks {
        let state = paint.state(&card.state, &card.state);
        lines.push(("network", format!("{} ({}), {state}", card.name, place(card))));
    }
    pairs(&lines, paint)
}

/// `hvctl info`.
pub fn host(h: &Host, paint: Paint) -> String {
    let mhz = h.tsc_khz / 1000;
    let (m, n) = (&h.memory, &h.counters);
    pairs(
        &[
            ("core", format!("{} (interface {})", h.core_version, h.interface)),
            ("tools", h.tools_version.clone()),
            ("virtualization", h.vendor.clone()),
            ("cpus", format!("{} at {mhz} MHz", h.cpus)),
            ("uptime", format_uptime(h.uptime_ns / 1_000_000_000)),
            ("memory", format!("{} MiB", mib(m.total_bytes))),
            ("for guests", format!("{} MiB", mib(m.pool_bytes))),
            ("of that free", format!("{} MiB", mib(m.free_bytes))),
            ("of the core", format!("{} KiB", m.core_bytes >> 10)),
            (
                "heap of the core",
                format!("{} of {} KiB", h.heap.used_bytes >> 10, h.heap.size_bytes >> 10),
            ),
            ("domains", n.domains.to_string()),
            ("vcpus", n.vcpus.to_string()),
            ("event ports", n.ports.to_string()),
            ("foreign pages", n.foreign_pages.to_string()),
            ("exits", h.totals.exits.to_string()),
            ("hypercalls", h.totals.hypercalls.to_string()),
        ],
        paint,
    )
}

/// `hvctl trace`.
pub fn trace(t: &Trace, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("TSC", Right),
        ("CPU", Right),
        ("Cause", Left),
        ("RIP", Right),
        ("Detail", Right),
    ]);
    for exit in &t.exits {
        table.row(vec![
            exit.tsc.to_string(),
            exit.cpu.to_string(),
            exit.cause.clone(),
            format!("{:#018x}", exit.rip),
            format!("{:#x}", exit.detail),
        ]);
    }
    let shown = t.exits.len();
    format!("{}{shown} of {} exits, oldest first\n", table.text(paint), t.total)
}

/// `hvctl doctor`.
pub fn doctor(d: &Doctor, paint: Paint) -> String {
    let mut text = String::new();
    for check in &d.checks {
        let mark = match check.ok {
            true => paint.green("ok  "),
            false => paint.red("BAD "),
        };
        text += &format!("{mark} {}: {}\n", check.name, check.text);
        if let Some(hint) = &check.hint {
            text += &format!("       {hint}\n");
        }
    }
    text
}

/// `hvctl events`.
pub fn events(events: &[Event], paint: Paint) -> String {
    let line = |e: &Event| {
        let about = match (&e.name, e.domain) {
            (Some(name), Some(id)) => format!("{name} ({id}): "),
            _ => String::new(),
        };
        let time = paint.dim(&clock(e.unix_ms));
        format!("{time} {} {about}{}\n", paint.bold(&e.kind), e.text)
    };
    events.iter().map(line).collect()
}

/// UTC, as RFC 3339 has it (days to a date: H. Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", civil_from_days).
fn clock(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let date = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{date:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

/// The core's log with its warnings and errors painted.
pub fn log(text: &str, paint: Paint) -> String {
    let line = |line: &str| {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        // "[    s.uuuuuu] level room: text"
        let level = body.split_once("] ").map_or("", |(_, rest)| rest);
        if level.starts_with("error ") || body.contains("PANIC:") {
            paint.red(body) + end
        } else if level.starts_with("warn ") {
            paint.yellow(body) + end
        } else {
            line.into()
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn clocks() {
        assert_eq!(clock(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(clock(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(clock(1_795_132_799_001), "2026-11-19T23:59:59.001Z");
    }
}
