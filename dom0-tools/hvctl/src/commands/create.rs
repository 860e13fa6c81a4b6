// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain files: `create` and `validate`.

use super::{Context, console};
use crate::args::FileArgs;
use crate::failure::{Failure, Outcome};
use crate::style::{Progress, put};
use hv_toolstack::api::{CreateRequest, Doc, OneDomain, Problem};
use hv_toolstack::builder;
use hv_toolstack::file::{self, Parsed};
use hv_toolstack::spec::DomainSpec;
use hv_toolstack::units::format_size;
use serde::Serialize;

fn load(args: &FileArgs) -> Outcome<Parsed> {
    Ok(file::load(&args.file, &args.overrides)?)
}

pub async fn create(c: &Context, args: &FileArgs, console: bool, paused: bool) -> Outcome<()> {
    let parsed = load(args)?;
    let name = parsed.spec.name.clone();
    let progress = Progress::new();
    progress.say(&format!("building {name} …"));
    let spec = parsed.spec.clone();
    let request = CreateRequest { spec, paused };
    let answer: Outcome<Doc<OneDomain>> = c.client.ask("POST", "/v1/domains", &request).await;
    drop(progress);
    let made = answer.map_err(|e| e.at(|field, message| parsed.diagnostic(field, message)))?;
    if console {
        return console::attach(c, &name).await;
    }
    c.show(&made, |body| {
        let state = if paused { "is paused" } else { "runs" };
        format!(
            "{name} {state} as domain {}; `hvctl console {name}` attaches its console\n",
            body.domain.id
        )
    });
    Ok(())
}

#[derive(Serialize)]
struct Valid {
    spec: DomainSpec,
}

pub fn validate(c: &Context, args: &FileArgs) -> Outcome<()> {
    let parsed = load(args)?;
    builder::check_files(&parsed.spec).map_err(|e| {
        let problem = Problem {
            code: "invalid".into(),
            message: e.why,
            hint: e.hint,
            step: None,
            field: e.field,
        };
        Failure::from(problem).at(|field, message| parsed.diagnostic(field, message))
    })?;
    let spec = parsed.spec;
    if c.json {
        c.show(&Doc::of(Valid { spec }), |_| String::new());
        return Ok(());
    }
    let vcpus = match spec.vcpus {
        1 => "1 vCPU".into(),
        n => format!("{n} vCPUs"),
    };
    put(&format!(
        "{} is fine: domain {} with {} and {vcpus}\n",
        args.file.display(),
        spec.name,
        format_size(spec.memory)
    ));
    Ok(())
}
