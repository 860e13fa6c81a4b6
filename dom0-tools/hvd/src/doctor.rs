// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks for what is wrong: versions, leaks, leftovers.

use crate::daemon::Daemon;
use crate::problem::Answer;
use crate::record;
use hv_abi::domain::{DomainInfo, state};
use hv_abi::host::HostInfo;
use hv_abi::{ABI_MAJOR, DOM_CONTROL, DomainId};
use hv_client::Calls;
use hv_toolstack::api::{Check, Doctor};
use hv_toolstack::domain;
use std::sync::PoisonError;

fn check(name: &str, ok: bool, text: String, hint: &str) -> Check {
    Check { name: name.into(), ok, text, hint: (!ok && !hint.is_empty()).then(|| hint.into()) }
}

/// Names of the domains that `which` picks.
fn names(domains: &[DomainInfo], which: impl Fn(&DomainInfo) -> bool) -> Vec<String> {
    let picked = domains.iter().filter(|info| which(info));
    picked.map(|info| format!("{} ({})", domain::name(info), info.domain)).collect()
}

fn none_or(list: &[String], what: &str) -> String {
    match list.len() {
        0 => format!("no {what}"),
        n => format!("{n} {what}: {}", list.join(", ")),
    }
}

/// Whether frames were lost. The core keeps tables in the pool too, so only a
/// moment without guests can be compared: with the first such moment.
fn frames(daemon: &Daemon, host: &HostInfo, guests: &[DomainInfo]) -> Check {
    let owned: u64 = guests.iter().map(|info| info.pages).sum();
    let used = host.pool_pages.saturating_sub(host.free_pages);
    let quiet = note_quiet(daemon, used, guests);
    let mut ok = used >= owned;
    let mut text = format!("{used} frames of the pool are in use, {owned} of them guests'");
    if let (Some(before), true) = (quiet, guests.is_empty()) {
        ok = used <= before;
        text = format!("{used} frames of the pool are in use; {before} before the first guest");
    }
    check(
        "frames",
        ok,
        text,
        "frames of a destroyed domain return with their last mapping: does a program hold one?",
    )
}

/// Remembers how many frames are in use without guests.
fn note_quiet(daemon: &Daemon, used: u64, guests: &[DomainInfo]) -> Option<u64> {
    let mut quiet = daemon.quiet_frames.lock().unwrap_or_else(PoisonError::into_inner);
    if quiet.is_none() && guests.is_empty() {
        *quiet = Some(used);
    }
    *quiet
}

/// Takes the measure by which [`run`] finds lost frames; to be called before
/// the first domain is made.
pub fn prepare(daemon: &Daemon) -> Answer<()> {
    let host = daemon.core.host_info()?;
    let mut domains = daemon.core.domains()?;
    domains.retain(|info| info.domain as DomainId != DOM_CONTROL);
    note_quiet(daemon, host.pool_pages.saturating_sub(host.free_pages), &domains);
    Ok(())
}

/// Devices that do not serve their guest.
fn devices(daemon: &Daemon) -> Check {
    let mut bad = Vec::new();
    for entry in daemon.entries() {
        let live = entry.live();
        for device in &live.devices {
            let status = device.status();
            if ["held", "quarantined", "restarting"].contains(&&*status.phase) {
                let (domain, name) = (&live.record.spec.name, &device.record.name);
                bad.push(format!("{domain}/{name} ({})", status.phase));
            }
        }
    }
    check(
        "devices",
        bad.is_empty(),
        none_or(&bad, "devices that do not serve their guest"),
        "`hvctl block-list DOMAIN` says why; `hvctl unpause DOMAIN` tries held I/O again",
    )
}

/// Looks at everything.
pub fn run(daemon: &Daemon) -> Answer<Doctor> {
    let core = &daemon.core;
    let version = core.version()?;
    let domains = core.domains()?;
    let host = core.host_info()?;
    let guests: Vec<DomainInfo> =
        domains.iter().filter(|info| info.domain as DomainId != DOM_CONTROL).copied().collect();

    let (major, minor) = (version >> 16, version & 0xffff);
    let interface = check(
        "interface",
        major == ABI_MAJOR,
        format!("the core speaks interface {major}.{minor}"),
        "install core and tools of the same version",
    );

    let discrepancies = core.audit()?;
    let audit = check(
        "audit",
        discrepancies == 0,
        format!("{discrepancies} discrepancies in the core's frame tables"),
        "`hvctl dmesg` has a line for each; this is a bug of the core, please report it",
    );

    let frames = frames(daemon, &host, &guests);

    let dying = names(&guests, |info| info.state & state::DYING != 0);
    let dying = check(
        "dying",
        dying.is_empty(),
        none_or(&dying, "domains that cannot end"),
        "`hvctl destroy` them again; restart hvd if that does not help",
    );

    let unknown = names(&guests, |info| daemon.entry_of(info).is_none());
    let unknown = check(
        "unmanaged",
        unknown.is_empty(),
        none_or(&unknown, "domains that hvd did not make"),
        "hvd leaves them alone; `hvctl destroy NUMBER` if they are not wanted",
    );

    let stopped = names(&guests, |info| info.state & state::SHUTDOWN != 0);
    let stopped = check(
        "stopped",
        stopped.is_empty(),
        none_or(&stopped, "domains that stopped and are kept"),
        "`hvctl info NAME` says why; `hvctl destroy NAME` gives their memory back",
    );

    let known: Vec<_> = daemon.entries().iter().map(|e| e.live().record.uuid).collect();
    let stray: Vec<String> = record::load(&daemon.paths)
        .unwrap_or_default()
        .into_iter()
        .filter(|r| !known.contains(&r.uuid))
        .map(|r| r.spec.name)
        .collect();
    let records = check(
        "records",
        stray.is_empty(),
        none_or(&stray, "records without a domain"),
        "restart hvd: it clears them",
    );

    let devices = devices(daemon);
    let leftover: Vec<String> = crate::devices::domains(daemon)
        .into_iter()
        .filter(|uuid| !known.contains(uuid))
        .map(|uuid| uuid.to_string())
        .collect();
    let backends = check(
        "backends",
        leftover.is_empty(),
        none_or(&leftover, "domains that are gone but have backends"),
        "restart hvd: it ends them",
    );

    let checks =
        vec![interface, audit, frames, dying, unknown, stopped, records, devices, backends];
    Ok(Doctor { ok: checks.iter().all(|c| c.ok), checks })
}
