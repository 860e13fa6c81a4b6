// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands about disks.

use super::{Context, domains, show};
use crate::client::segment;
use crate::failure::{Failure, Outcome};
use hv_toolstack::api::{Disk, DiskChange, Disks, Doc, Done, OneDisk};
use hv_toolstack::disk::DiskSpec;
use hv_toolstack::file::disk_of_words;
use hv_toolstack::units::{format_size, parse_size};

fn path(domain: &str) -> String {
    format!("{}/disks", domains::path(domain))
}

fn one(domain: &str, disk: &str) -> String {
    format!("{}/{}", path(domain), segment(disk))
}

fn invalid(why: String) -> Failure {
    Failure::new("invalid", why)
}

/// What happened to a disk, in a line.
fn say(c: &Context, document: &Doc<OneDisk>, text: impl FnOnce(&Disk) -> String) {
    c.show(document, |body| text(&body.disk) + "\n");
}

pub async fn attach(c: &Context, domain: &str, keys: &[String]) -> Outcome<()> {
    let mut disk: DiskSpec = disk_of_words(keys).map_err(invalid)?;
    // The daemon has a directory of its own.
    disk.path = std::path::absolute(&disk.path).map_err(|e| invalid(e.to_string()))?;
    let made: Doc<OneDisk> = c.client.ask("POST", &path(domain), &disk).await?;
    say(c, &made, |disk| {
        format!("{} is attached to {domain} in slot {}", disk.name, disk.slot.unwrap_or_default())
    });
    Ok(())
}

pub async fn detach(c: &Context, domain: &str, disk: &str, force: bool) -> Outcome<()> {
    let path = format!("{}?force={force}", one(domain, disk));
    let done: Doc<Done> = c.client.ask("DELETE", &path, &()).await?;
    c.show(&done, |_| String::new());
    Ok(())
}

pub async fn list(c: &Context, domain: &str) -> Outcome<()> {
    let document: Doc<Disks> = c.client.get(&path(domain)).await?;
    c.show(&document, |body| show::disks(&body.disks, c.paint));
    Ok(())
}

async fn change(c: &Context, domain: &str, disk: &str, change: DiskChange) -> Outcome<()> {
    let made: Doc<OneDisk> = c.client.ask("PUT", &one(domain, disk), &change).await?;
    say(c, &made, |disk| {
        let size = disk.stats["capacity_bytes"].as_u64().unwrap_or_default();
        format!("{} has {}", disk.name, format_size(size))
    });
    Ok(())
}

pub async fn resize(c: &Context, domain: &str, disk: &str, size: Option<&str>) -> Outcome<()> {
    let size = size.map(parse_size).transpose().map_err(invalid)?;
    change(c, domain, disk, DiskChange { resize: true, size, ..DiskChange::default() }).await
}

pub async fn limit(c: &Context, domain: &str, disk: &str, keys: &[String]) -> Outcome<()> {
    let named = |direction: &str| keys.iter().any(|key| key.starts_with(direction));
    let (read, write) = (named("read_"), named("write_"));
    if let Some(other) = keys.iter().find(|k| !k.starts_with("read_") && !k.starts_with("write_")) {
        let why = format!("`{other}` is no limit");
        return Err(invalid(why).hint("limits are read_bytes, read_ops, write_bytes, write_ops …"));
    }
    let mut words = keys.to_vec();
    words.push("path=-".into());
    let spec = disk_of_words(&words).map_err(invalid)?;
    let change_to = DiskChange {
        read: read.then_some(spec.read),
        write: write.then_some(spec.write),
        ..DiskChange::default()
    };
    change(c, domain, disk, change_to).await
}
