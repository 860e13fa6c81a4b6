// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths about domains.

use super::{Shared, body, document, done};
use crate::devices::supervise::pause as pause_held;
use crate::devices::verbs;
use crate::lifecycle::{self, Cancel};
use crate::problem::{Answer, Problem};
use crate::record;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use hv_abi::domain::{DomainInfo, reason, state};
use hv_client::Calls;
use hv_toolstack::api::{
    AffinityRequest, CreateRequest, Domains, OneDomain, SchedRequest, ShutdownRequest, Trace, Vcpu,
    Vcpus,
};
use hv_toolstack::domain;

pub async fn list(State(daemon): Shared) -> Answer<Response> {
    lifecycle::reconcile(&daemon);
    let domains = daemon.core.domains()?;
    let describe = |info| daemon.describe(info, false);
    Ok(document(Domains { domains: domains.iter().map(describe).collect() }))
}

pub async fn one(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    lifecycle::reconcile(&daemon);
    let target = daemon.find(&name)?;
    let mut domain = daemon.describe(&target.info, true);
    if let Some(entry) = &target.entry {
        domain.disks = verbs::all(entry).await;
        domain.networks = crate::network::verbs::all(&daemon, entry).await;
    }
    Ok(document(OneDomain { domain }))
}

/// Ends the work when the request's future is dropped: the client is gone.
struct OnDrop(Cancel);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub async fn create(State(daemon): Shared, bytes: Bytes) -> Answer<Response> {
    let request: CreateRequest = body(&bytes)?;
    let cancel = Cancel::default();
    let _guard = OnDrop(cancel.clone());
    // A task of its own, so that it is not dropped half-way with the request.
    let work = tokio::spawn(lifecycle::create(daemon, request, cancel));
    match work.await {
        Ok(domain) => Ok(document(OneDomain { domain: domain? })),
        Err(e) => Err(Problem::new("failed", format!("the work ended: {e}"))),
    }
}

pub async fn destroy(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    let target = daemon.find(&name)?;
    let work = tokio::spawn(async move { lifecycle::destroy(&daemon, target).await });
    match work.await {
        Ok(result) => result.map(|()| done()),
        Err(e) => Err(Problem::new("failed", format!("the work ended: {e}"))),
    }
}

/// Refuses what makes no sense for a domain that has stopped or was not started.
fn must_run(info: &DomainInfo) -> Answer<()> {
    if info.state & state::NEW != 0 {
        let message = format!("`{}` is just being built", domain::name(info));
        return Err(Problem::new("busy", message).hint("try again in a moment"));
    }
    if info.state & state::SHUTDOWN == 0 {
        return Ok(());
    }
    let (name, why) = (domain::name(info), domain::reason_text(info));
    let problem = Problem::new("refused", format!("`{name}` has stopped already: {why}"));
    Err(problem.hint(format!("`hvctl destroy {name}` gives its memory back")))
}

pub async fn shutdown(
    State(daemon): Shared,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let request: ShutdownRequest = body(&bytes)?;
    let target = daemon.find(&name)?.guest("shut down by hvd")?;
    must_run(&target.info)?;
    let name = target.name();
    if target.info.state & state::PAUSED != 0 {
        let problem = Problem::new("refused", format!("`{name}` is paused and cannot act"));
        return Err(problem.hint(format!("`hvctl unpause {name}` first")));
    }
    let (why, text) = match request.reboot {
        true => (reason::REBOOT, "it was asked to reboot"),
        false => (reason::POWEROFF, "it was asked to shut down"),
    };
    daemon.core.domain_shutdown(target.id(), why)?;
    let about = Some((target.id(), &*name));
    daemon.journal.write("shutdown-asked", about, text);
    Ok(done())
}

pub async fn pause(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    let target = daemon.find(&name)?.guest("paused")?;
    must_run(&target.info)?;
    let name = target.name();
    // The core counts pauses; the tools know only one.
    if target.info.state & state::PAUSED != 0 {
        return Err(Problem::new("refused", format!("`{name}` is paused already")));
    }
    daemon.core.domain_pause(target.id())?;
    let about = Some((target.id(), &*name));
    daemon.journal.write("paused", about, "it was paused");
    Ok(done())
}

pub async fn unpause(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    let target = daemon.find(&name)?.guest("unpaused")?;
    let name = target.name();
    if target.info.state & state::NEW != 0 {
        return Err(Problem::new("busy", format!("`{name}` is just being built")));
    }
    if target.info.state & state::PAUSED == 0 {
        return Err(Problem::new("refused", format!("`{name}` is not paused")));
    }
    if let Some(entry) = &target.entry {
        verbs::resume(entry).await;
    }
    daemon.core.domain_unpause(target.id())?;
    let about = Some((target.id(), &*name));
    daemon.journal.write("unpaused", about, "it runs again");
    // What failed again before it ran has found it paused.
    if let Some(entry) = target.entry.as_ref().filter(|entry| verbs::held(entry).is_some()) {
        pause_held(&daemon, entry);
    }
    Ok(done())
}

pub async fn sched(
    State(daemon): Shared,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let request: SchedRequest = body(&bytes)?;
    let target = daemon.find(&name)?;
    let weight = request.weight.unwrap_or(target.info.weight);
    let cap = request.cap.unwrap_or(target.info.cap);
    if weight == 0 || weight > 65_535 {
        let problem = Problem::new("invalid", format!("a weight of {weight} is not possible"));
        return Err(problem.hint("weights are 1 to 65535; 256 is usual"));
    }
    daemon.core.domain_weight(target.id(), weight, cap)?;
    if let Some(entry) = &target.entry {
        // The next life is to be like this one.
        let record = {
            let mut live = entry.live();
            let cpu = &mut live.record.spec.cpu;
            (cpu.weight, cpu.cap) = (weight, cap);
            live.record.clone()
        };
        if let Err(e) = record::store(&daemon.paths, &record) {
            tracing::warn!("cannot note the new share of `{name}`: {e}");
        }
    }
    one(State(daemon), Path(name)).await
}

fn vcpus_of(daemon: &crate::daemon::Daemon, info: &DomainInfo) -> Answer<Vec<Vcpu>> {
    let (id, name) = (info.domain as u16, domain::name(info));
    let vcpu = |n| {
        let figures = daemon.core.vcpu_info(id, n)?;
        Ok(Vcpu::new(id, &name, n, &figures))
    };
    (0..info.vcpus).map(vcpu).collect()
}

pub async fn vcpus(State(daemon): Shared, Path(name): Path<String>) -> Answer<Response> {
    let target = daemon.find(&name)?;
    let vcpus = vcpus_of(&daemon, &target.info)?;
    Ok(document(Vcpus { vcpus }))
}

pub async fn all_vcpus(State(daemon): Shared) -> Answer<Response> {
    let mut vcpus = Vec::new();
    for info in daemon.core.domains()? {
        // A domain that ends while we look is no failure of the request.
        vcpus.extend(vcpus_of(&daemon, &info).unwrap_or_default());
    }
    Ok(document(Vcpus { vcpus }))
}

/// Refuses a vCPU that is not there, by name.
fn check_vcpu(info: &DomainInfo, vcpu: u32) -> Answer<()> {
    if vcpu < info.vcpus {
        return Ok(());
    }
    let (name, last) = (domain::name(info), info.vcpus.saturating_sub(1));
    let message = format!("`{name}` has no vCPU {vcpu}; it has 0 to {last}");
    Err(Problem::new("not-found", message))
}

pub async fn affinity(
    State(daemon): Shared,
    Path((name, vcpu)): Path<(String, u32)>,
    bytes: Bytes,
) -> Answer<Response> {
    let request: AffinityRequest = body(&bytes)?;
    let target = daemon.find(&name)?.guest("pinned otherwise: its vCPU n is CPU n's")?;
    check_vcpu(&target.info, vcpu)?;
    let cpus = daemon.core.host_info()?.cpus;
    let there = if cpus < 64 { (1 << cpus) - 1 } else { u64::MAX };
    if request.cpus.0 & there == 0 {
        let message = format!("the host has none of the CPUs {}", request.cpus);
        return Err(Problem::new("invalid", message)
            .hint(format!("its CPUs are 0 to {}", cpus.saturating_sub(1))));
    }
    daemon.core.vcpu_affinity(target.id(), vcpu, request.cpus.0 & there)?;
    Ok(done())
}

pub async fn trace(
    State(daemon): Shared,
    Path((name, vcpu)): Path<(String, u32)>,
) -> Answer<Response> {
    let target = daemon.find(&name)?;
    check_vcpu(&target.info, vcpu)?;
    let trace = daemon.core.trace_read(target.id(), vcpu)?;
    Ok(document(Trace::new(target.id(), vcpu, &trace)))
}
