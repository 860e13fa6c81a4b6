// SPDX-License-Identifier: MIT OR Apache-2.0
//! The NAT network: a bridge with an address, a rule that masquerades, and
//! `hv-nat` for DHCP and DNS. It is made when the first card needs it.
//!
//! A card's address is chosen here once and kept by its Ethernet address, so
//! that anti-spoofing can hold the guest to it and a restart changes nothing.

use super::links::{Links, Machine};
use crate::problem::{Answer, Problem};
use hv_net::nat::{Host, Lan};
use hv_toolstack::network::Mac;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Its bridge.
pub const BRIDGE: &str = "hvnat0";
/// Its subnet: private (RFC 1918), and not one that others choose first.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 118, 0, 1);
const PREFIX: u8 = 24;
/// The user of the service, above those that have names and below backends'.
const UID: u32 = 0x6fff_fff0;

/// Where the service's file is.
pub fn file(dir: &Path) -> PathBuf {
    dir.join("nat.json")
}

fn fresh() -> Lan {
    Lan {
        interface: BRIDGE.into(),
        router: ROUTER,
        prefix: PREFIX,
        mtu: 1500,
        uid: UID,
        hosts: Vec::new(),
    }
}

/// The network as it is, or as it begins.
pub fn load(dir: &Path) -> Lan {
    let text = std::fs::read(file(dir)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_else(fresh)
}

fn store(dir: &Path, lan: &Lan) -> Answer<()> {
    let write = || {
        std::fs::create_dir_all(dir)?;
        // The service, who is another user, reads it.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        let new = dir.join("nat.new");
        std::fs::write(&new, serde_json::to_vec_pretty(lan)?)?;
        std::fs::rename(new, file(dir))
    };
    write().map_err(|e: std::io::Error| {
        Problem::new("failed", format!("cannot write {}: {e}", file(dir).display()))
    })
}

/// An address of the network that nobody has: the lowest.
fn free_address(lan: &Lan) -> Option<Ipv4Addr> {
    let (first, last) = (u32::from(lan.router) + 1, u32::from(lan.broadcast()));
    let taken = |address: &Ipv4Addr| lan.hosts.iter().any(|host| host.address == *address);
    (first..last).map(Ipv4Addr::from).find(|address| !taken(address))
}

/// The address of a card, which is on the network from now on.
pub fn join(dir: &Path, mac: Mac, name: &str) -> Answer<Ipv4Addr> {
    let mut lan = load(dir);
    if let Some(host) = lan.hosts.iter_mut().find(|host| host.mac == mac.0) {
        host.name = name.into();
        let address = host.address;
        store(dir, &lan)?;
        return Ok(address);
    }
    let address = free_address(&lan)
        .ok_or_else(|| Problem::new("refused", "the NAT network has no address left"))?;
    lan.hosts.push(Host { mac: mac.0, address, name: name.into() });
    store(dir, &lan)?;
    Ok(address)
}

/// A card is gone.
pub fn leave(dir: &Path, mac: Mac) {
    let mut lan = load(dir);
    let before = lan.hosts.len();
    lan.hosts.retain(|host| host.mac != mac.0);
    if lan.hosts.len() < before
        && let Err(problem) = store(dir, &lan)
    {
        tracing::warn!("{problem}");
    }
}

/// Makes bridge, address and rule, as far as they are not there.
pub fn make(links: &dyn Links, dir: &Path) -> Answer<()> {
    let no = |why: String| {
        Problem::new("failed", format!("cannot make the NAT network: {why}"))
            .hint("`hvctl doctor` says what this control domain lacks")
    };
    let lan = load(dir);
    if links.look(BRIDGE).is_none() {
        let address = format!("{}/{}", lan.router, lan.prefix);
        for arguments in [
            &["link", "add", "name", BRIDGE, "type", "bridge"][..],
            &["addr", "add", &address, "dev", BRIDGE],
            &["link", "set", "dev", BRIDGE, "up"],
        ] {
            links.run("ip", arguments, "").map_err(no)?;
        }
    }
    links.run("nft", &["-f", "-"], &rules(&lan)).map_err(no)?;
    links.forward().map_err(no)?;
    store(dir, &lan)
}

/// The rule: what leaves the subnet has the control domain's address.
fn rules(lan: &Lan) -> String {
    let subnet = Ipv4Addr::from(u32::from(lan.router) & u32::from(lan.mask()));
    let subnet = format!("{subnet}/{}", lan.prefix);
    // A table is named before it is deleted, so that there is one to delete.
    format!(
        "table ip hv_nat\n\
         delete table ip hv_nat\n\
         table ip hv_nat {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority 100; policy accept;\n\
         \t\tip saddr {subnet} ip daddr != {subnet} masquerade\n\
         \t}}\n\
         }}\n"
    )
}

/// Keeps the service running once there is a network. To be spawned on the
/// daemon's own thread: the service ends with the thread that started it.
pub async fn supervise(dir: PathBuf) {
    let mut wait = Duration::from_millis(100);
    loop {
        while !file(&dir).exists() || Machine.look(BRIDGE).is_none() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        match start(&dir) {
            Ok(mut child) => {
                let began = std::time::Instant::now();
                while let Ok(None) = child.try_wait() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                tracing::warn!("hv-nat ended; it is started again");
                if began.elapsed() > Duration::from_secs(10) {
                    wait = Duration::from_millis(100);
                }
            }
            Err(e) => tracing::error!("cannot start hv-nat: {e}"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

fn start(dir: &Path) -> std::io::Result<Child> {
    let own = std::env::current_exe()?;
    let program = own.parent().map_or_else(PathBuf::new, |dir| dir.join("hv-nat"));
    let log = std::fs::File::options().create(true).append(true).open(dir.join("nat.log"))?;
    Command::new(program)
        .arg(file(dir))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::links::tests::Notes;

    #[test]
    fn addresses_are_kept_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let first = join(dir.path(), a, "a").unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 118, 0, 2));
        assert_eq!(join(dir.path(), b, "b").unwrap(), Ipv4Addr::new(10, 118, 0, 3));
        assert_eq!(join(dir.path(), a, "again").unwrap(), first);
        leave(dir.path(), a);
        let lan = load(dir.path());
        assert_eq!(lan.hosts.len(), 1);
        assert_eq!(free_address(&lan), Some(first));
    }

    #[test]
    fn it_is_full_at_253() {
        let dir = tempfile::tempdir().unwrap();
        let mut lan = fresh();
        let address = |i: u8| Ipv4Addr::new(10, 118, 0, i);
        let host = |i| Host { mac: [2, 0, 0, 0, 0, i], address: address(i), name: "x".into() };
        lan.hosts = (2..=254).map(host).collect();
        store(dir.path(), &lan).unwrap();
        assert!(join(dir.path(), Mac([2, 1, 0, 0, 0, 1]), "late").is_err());
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let links = Notes::default();
        make(&links, dir.path()).unwrap();
        assert_eq!(links.done.lock().unwrap().len(), 4);
        let links = Notes { bridges: vec![BRIDGE.into()], ..Notes::default() };
        make(&links, dir.path()).unwrap();
        assert_eq!(*links.done.lock().unwrap(), ["nft -f -"]);
        assert!(rules(&fresh()).contains("ip saddr 10.118.0.0/24 ip daddr != 10.118.0.0/24"));
    }
}
