// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each command does: ask, then show.

mod block;
mod console;
mod create;
mod domains;
mod host;
mod network;
mod show;
mod wait;

use crate::args::{Args, Command, DebugKey};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::style::{Paint, put};
use clap::CommandFactory;
use hv_toolstack::api::Doc;
use serde::Serialize;

/// What commands share.
pub struct Context {
    client: Client,
    json: bool,
    paint: Paint,
}

impl Context {
    /// Shows a document as it is, or as the text that `text` makes of it.
    fn show<T: Serialize>(&self, document: &Doc<T>, text: impl FnOnce(&T) -> String) {
        match self.json {
            true => put(&(serde_json::to_string_pretty(document).unwrap_or_default() + "\n")),
            false => put(&text(&document.body)),
        }
    }
}

/// Runs a command; a Ctrl-C ends it wherever it waits.
pub async fn run(args: Args) -> Outcome<Exit> {
    let context =
        Context { client: Client::new(args.socket), json: args.json, paint: Paint::of_stdout() };
    tokio::select! {
        result = dispatch(&context, args.command) => result,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::new("cancelled", "interrupted")),
    }
}

async fn dispatch(c: &Context, command: Command) -> Outcome<Exit> {
    match command {
        Command::Create { file, console, paused } => {
            create::create(c, &file, console, paused).await?
        }
        Command::Validate(file) => create::validate(c, &file)?,
        Command::List { domains } => domains::list(c, &domains).await?,
        Command::Destroy(which) => domains::destroy(c, &which.domains).await?,
        Command::Shutdown { wait, reboot } => wait::shutdown(c, &wait, reboot).await?,
        Command::Reboot(wait) => wait::shutdown(c, &wait, true).await?,
        Command::Pause(which) => domains::each(c, &which.domains, "pause").await?,
        Command::Unpause(which) => domains::each(c, &which.domains, "unpause").await?,
        Command::Console { domain, log: true } => console::log(c, &domain).await?,
        Command::Console { domain, .. } => console::attach(c, &domain).await?,
        Command::Info { domain: None } => host::info(c).await?,
        Command::Info { domain: Some(name) } => domains::info(c, &name).await?,
        Command::Dmesg { follow } => host::dmesg(c, follow).await?,
        Command::VcpuList { domain } => domains::vcpu_list(c, domain.as_deref()).await?,
        Command::VcpuPin { domain, vcpu, cpus } => {
            domains::vcpu_pin(c, &domain, &vcpu, cpus).await?;
        }
        Command::Sched { domain, weight, cap } => {
            domains::sched(c, domain.as_deref(), weight, cap).await?
        }
        Command::BlockAttach { domain, keys } => block::attach(c, &domain, &keys).await?,
        Command::BlockDetach { domain, disk, force } => {
            block::detach(c, &domain, &disk, force).await?;
        }
        Command::BlockList { domain } => block::list(c, &domain).await?,
        Command::BlockResize { domain, disk, size } => {
            block::resize(c, &domain, &disk, size.as_deref()).await?;
        }
        Command::BlockLimit { domain, disk, keys } => {
            block::limit(c, &domain, &disk, &keys).await?;
        }
        Command::NetworkAttach { domain, keys } => network::attach(c, &domain, &keys).await?,
        Command::NetworkDetach { domain, card, force } => {
            network::detach(c, &domain, &card, force).await?;
        }
        Command::NetworkList { domain } => network::list(c, &domain).await?,
        Command::NetworkSet { domain, card, keys } => {
            network::set(c, &domain, &card, &keys).await?;
        }
        Command::Domid { name } => domains::domid(c, &name).await?,
        Command::Domname { id } => domains::domname(c, id).await?,
        Command::Uptime { domains } => host::uptime(c, &domains).await?,
        Command::Trace { domain, vcpu } => domains::trace(c, &domain, vcpu).await?,
        Command::DebugKeys { key: DebugKey::Audit } => return host::audit(c).await,
        Command::DebugKeys { key } => host::debug_keys(c, key.name()).await?,
        Command::Doctor => return host::doctor(c).await,
        Command::Events { follow } => host::events(c, follow).await?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "hvctl", &mut script);
            crate::style::put_bytes(&script);
        }
        Command::Version => host::version(c).await?,
    }
    Ok(Exit::Done)
}
