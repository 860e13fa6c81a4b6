// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shutdown` and `reboot`, and waiting for them.

use super::{Context, domains};
use crate::args::WaitArgs;
use crate::failure::{Failure, Outcome};
use crate::style::Progress;
use hv_toolstack::api::{Doc, Domain, Done, ShutdownRequest};
use hv_toolstack::spec::{Action, DomainSpec};
use std::time::{Duration, Instant};

/// How often to look.
const LOOK: Duration = Duration::from_millis(200);

pub async fn shutdown(c: &Context, args: &WaitArgs, reboot: bool) -> Outcome<()> {
    let mut asked = Vec::new();
    for name in &args.which.domains {
        let domain = domains::one(c, name).await?.body.domain;
        let path = format!("{}/shutdown", domains::path(name));
        let request = ShutdownRequest { reboot };
        let _: Doc<Done> = c.client.ask("POST", &path, &request).await?;
        asked.push(domain);
    }
    if args.wait {
        let deadline = Instant::now() + Duration::from_secs(args.timeout);
        let progress = Progress::new();
        for domain in &asked {
            wait(c, domain, reboot, deadline, &progress).await?;
        }
    }
    c.show(&Doc::of(Done { ok: true }), |_| String::new());
    Ok(())
}

async fn wait(
    c: &Context,
    before: &Domain,
    reboot: bool,
    deadline: Instant,
    progress: &Progress,
) -> Outcome<()> {
    let name = &before.name;
    let start = Instant::now();
    loop {
        let state = match domains::one(c, name).await {
            Ok(now) => {
                let now = now.body.domain;
                let another = now.uuid != before.uuid || now.restarts != before.restarts;
                let lives = now.reason.is_none() && !["building", "dying"].contains(&&*now.state);
                if another && lives {
                    return Ok(());
                }
                if !another && !reboot && is_kept(&now) {
                    return Ok(());
                }
                now.state
            }
            // Gone. Between two lives it is for a moment not there either.
            Err(e) if e.code() == "not-found" && !reboot => return Ok(()),
            Err(e) if e.code() == "not-found" => {
                let problem = format!("{name} is gone instead of running again");
                return Err(Failure::new("failed", problem)
                    .hint("`hvctl events` says why; its on_reboot may say so"));
            }
            Err(e) if e.code() == "busy" => "being built".into(),
            Err(e) => return Err(e),
        };
        if Instant::now() >= deadline {
            let seconds = start.elapsed().as_secs();
            let verb = if reboot { "reboot" } else { "shut down" };
            let problem = format!("{name} did not {verb} within {seconds} s; it is {state}");
            return Err(Failure::new("failed", problem).hint(format!(
                "its kernel may not listen for the request; `hvctl destroy {name}` ends it at once"
            )));
        }
        let what = if reboot { "run again" } else { "turn itself off" };
        let seconds = start.elapsed().as_secs();
        progress.say(&format!("waiting for {name} to {what} ({state}, {seconds} s) …"));
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a domain has stopped and stays so, which its policy says. One that
/// nobody manages stays in any case.
fn is_kept(domain: &Domain) -> bool {
    let stays = |reason: &str, spec: &DomainSpec| match reason {
        "poweroff" => spec.on_poweroff == Action::Preserve,
        "reboot" => spec.on_reboot == Action::Preserve,
        _ => spec.on_crash == Action::Preserve,
    };
    match (&domain.reason, &domain.spec) {
        (Some(reason), Some(spec)) => stays(reason, spec),
        (Some(_), None) => true,
        (None, _) => false,
    }
}
