// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands about domains and their vCPUs.

use super::{Context, show};
use crate::client::segment;
use crate::failure::{Failure, Outcome};
use crate::style::put;
use hv_toolstack::api::{
    AffinityRequest, Doc, Domains, Done, OneDomain, SchedRequest, Trace, Vcpus,
};
use hv_toolstack::units::CpuSet;
use serde::Serialize;

pub fn path(name: &str) -> String {
    format!("/v1/domains/{}", segment(name))
}

pub async fn all(c: &Context) -> Outcome<Doc<Domains>> {
    c.client.get("/v1/domains").await
}

pub async fn one(c: &Context, name: &str) -> Outcome<Doc<OneDomain>> {
    c.client.get(&path(name)).await
}

/// The domains named, or all.
pub async fn some(c: &Context, names: &[String]) -> Outcome<Doc<Domains>> {
    if names.is_empty() {
        return all(c).await;
    }
    let mut domains = Vec::new();
    for name in names {
        domains.push(one(c, name).await?.body.domain);
    }
    Ok(Doc::of(Domains { domains }))
}

pub async fn list(c: &Context, names: &[String]) -> Outcome<()> {
    let document = some(c, names).await?;
    c.show(&document, |body| show::domains(&body.domains, c.paint));
    Ok(())
}

pub async fn info(c: &Context, name: &str) -> Outcome<()> {
    let document = one(c, name).await?;
    c.show(&document, |body| show::domain(&body.domain, c.paint));
    Ok(())
}

fn all_done(c: &Context) {
    c.show(&Doc::of(Done { ok: true }), |_| String::new());
}

pub async fn destroy(c: &Context, names: &[String]) -> Outcome<()> {
    for name in names {
        let _: Doc<Done> = c.client.ask("DELETE", &path(name), &()).await?;
    }
    all_done(c);
    Ok(())
}

/// `pause` and `unpause`.
pub async fn each(c: &Context, names: &[String], verb: &str) -> Outcome<()> {
    for name in names {
        let path = format!("{}/{verb}", path(name));
        let _: Doc<Done> = c.client.ask("POST", &path, &()).await?;
    }
    all_done(c);
    Ok(())
}

pub async fn vcpu_list(c: &Context, name: Option<&str>) -> Outcome<()> {
    let path = match name {
        Some(name) => format!("{}/vcpus", path(name)),
        None => "/v1/vcpus".into(),
    };
    let document: Doc<Vcpus> = c.client.get(&path).await?;
    c.show(&document, |body| show::vcpus(&body.vcpus, c.paint));
    Ok(())
}

pub async fn vcpu_pin(c: &Context, name: &str, vcpu: &str, cpus: CpuSet) -> Outcome<()> {
    let vcpus: Vec<u32> = match vcpu {
        "all" => (0..one(c, name).await?.body.domain.vcpus).collect(),
        number => vec![number.parse().map_err(|_| {
            Failure::new("invalid", format!("`{number}` is no number of a vCPU"))
                .hint("vCPUs are numbered from 0; `all` names every one")
        })?],
    };
    for vcpu in vcpus {
        let path = format!("{}/vcpus/{vcpu}/affinity", path(name));
        let _: Doc<Done> = c.client.ask("PUT", &path, &AffinityRequest { cpus }).await?;
    }
    all_done(c);
    Ok(())
}

pub async fn sched(
    c: &Context,
    name: Option<&str>,
    weight: Option<u32>,
    cap: Option<u32>,
) -> Outcome<()> {
    let document = match name {
        Some(name) if weight.is_some() || cap.is_some() => {
            let request = SchedRequest { weight, cap };
            let path = format!("{}/sched", path(name));
            let made: Doc<OneDomain> = c.client.ask("PUT", &path, &request).await?;
            let domains = vec![made.body.domain];
            Doc::of(Domains { domains })
        }
        Some(name) => some(c, &[name.into()]).await?,
        None => all(c).await?,
    };
    c.show(&document, |body| show::sched(&body.domains, c.paint));
    Ok(())
}

#[derive(Serialize)]
struct Identity {
    id: u16,
    name: String,
}

async fn identity(c: &Context, name: &str) -> Outcome<Doc<Identity>> {
    let domain = one(c, name).await?.body.domain;
    Ok(Doc::of(Identity { id: domain.id, name: domain.name }))
}

pub async fn domid(c: &Context, name: &str) -> Outcome<()> {
    let document = identity(c, name).await?;
    c.show(&document, |body| format!("{}\n", body.id));
    Ok(())
}

pub async fn domname(c: &Context, id: u16) -> Outcome<()> {
    let document = identity(c, &id.to_string()).await?;
    c.show(&document, |body| format!("{}\n", body.name));
    Ok(())
}

pub async fn trace(c: &Context, name: &str, vcpu: u32) -> Outcome<()> {
    let path = format!("{}/vcpus/{vcpu}/trace", path(name));
    let document: Doc<Trace> = c.client.get(&path).await?;
    if c.json {
        c.show(&document, |_| String::new());
    } else {
        put(&show::trace(&document.body, c.paint));
    }
    Ok(())
}
