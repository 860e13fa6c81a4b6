// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands about network cards.

use super::{Context, domains, show};
use crate::client::segment;
use crate::failure::{Failure, Outcome};
use hv_toolstack::api::{Doc, Done, NetworkChange, Networks, OneNetwork};
use hv_toolstack::file::network_of_words;
use hv_toolstack::network::NetworkSpec;

fn path(domain: &str) -> String {
    format!("{}/networks", domains::path(domain))
}

fn one(domain: &str, card: &str) -> String {
    format!("{}/{}", path(domain), segment(card))
}

fn invalid(why: String) -> Failure {
    Failure::new("invalid", why)
}

pub async fn attach(c: &Context, domain: &str, keys: &[String]) -> Outcome<()> {
    let card = network_of_words(keys, NetworkSpec::default()).map_err(invalid)?;
    let made: Doc<OneNetwork> = c.client.ask("POST", &path(domain), &card).await?;
    c.show(&made, |body| {
        let card = &body.network;
        let slot = card.slot.unwrap_or_default();
        format!("{} is attached to {domain} in slot {slot}\n", card.name)
    });
    Ok(())
}

pub async fn detach(c: &Context, domain: &str, card: &str, force: bool) -> Outcome<()> {
    let path = format!("{}?force={force}", one(domain, card));
    let done: Doc<Done> = c.client.ask("DELETE", &path, &()).await?;
    c.show(&done, |_| String::new());
    Ok(())
}

pub async fn list(c: &Context, domain: &str) -> Outcome<()> {
    let document: Doc<Networks> = c.client.get(&path(domain)).await?;
    c.show(&document, |body| show::networks(&body.networks, c.paint));
    Ok(())
}

pub async fn set(c: &Context, domain: &str, card: &str, keys: &[String]) -> Outcome<()> {
    let known = ["link=", "send_rate=", "receive_rate="];
    if let Some(other) = keys.iter().find(|key| !known.iter().any(|k| key.starts_with(k))) {
        return Err(invalid(format!("`{other}` can't be changed while the card is there"))
            .hint("link, send_rate and receive_rate can; for the rest detach and attach it"));
    }
    // A network of some kind, so that the words alone are judged.
    let base = NetworkSpec { nat: true, ..NetworkSpec::default() };
    let spec = network_of_words(keys, base).map_err(invalid)?;
    let named = |key: &str| keys.iter().any(|word| word.starts_with(key));
    let change = NetworkChange {
        link: named("link=").then_some(spec.link),
        send_rate: named("send_rate=").then_some(spec.send_rate),
        receive_rate: named("receive_rate=").then_some(spec.receive_rate),
    };
    let made: Doc<OneNetwork> = c.client.ask("PUT", &one(domain, card), &change).await?;
    c.show(&made, |body| {
        let link = if body.network.spec.link { "up" } else { "down" };
        format!("{} has its link {link}\n", body.network.name)
    });
    Ok(())
}
