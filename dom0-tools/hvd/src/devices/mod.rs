// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of domains: their slots and ports, the processes that serve them.
//!
//! A device begins with [`begin`], which may block: ports, directory
//! (`hv_backend::files`), process, and waiting until the process says that the
//! device is in its slot. What has begun is owned by a [`Begun`] that undoes it
//! when dropped. From then on a task supervises it ([`supervise`]): it keeps the
//! connection, starts the process again when it died, and passes requests on.
//! The process depends on neither: a daemon that comes back finds it by its
//! socket.
//!
//! [`launch`]: starting processes; [`block`]: what a disk is to its backend;
//! [`verbs`]: attaching and detaching while the domain runs.

pub mod block;
pub mod launch;
pub mod supervise;
pub mod verbs;

use crate::daemon::Daemon;
use crate::network;
use crate::problem::{Answer, Problem};
use hv_abi::{DomainId, PAGE_SIZE};
use hv_backend::{DeviceFile, Files};
use hv_client::{Calls, Core, EventPort};
use hv_toolstack::layout;
use hv_toolstack::spec::DomainSpec;
use launch::Running;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a backend may take to begin; emulated machines are slow.
const BEGINNING: Duration = Duration::from_secs(60);
/// Users of backends: each its own, above those that have names.
const UIDS: u32 = 0x7000_0000;

/// What a device is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `block` or `network`: the program that serves it.
    pub kind: &'static str,
    /// Name, unique among the domain's devices of its kind.
    pub name: String,
    /// Queues.
    pub queues: u32,
    /// What the program wants to know.
    pub settings: serde_json::Value,
    /// The domain file's key that is at fault if the program refuses.
    pub field: String,
}

/// The devices a domain begins with.
pub fn plans(spec: &DomainSpec) -> Vec<Plan> {
    let disks = spec.disks.iter().enumerate();
    let disks = disks.map(|(i, disk)| block::plan(disk, spec.vcpus, &format!("disk[{i}].path")));
    let networks = spec.networks.iter().enumerate().map(|(i, card)| {
        network::plan(card, spec.vcpus, &spec.name, &format!("network[{i}].bridge"))
    });
    disks.chain(networks).collect()
}

/// What must be remembered of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// As in [`Plan`].
    pub kind: String,
    /// As in [`Plan`].
    pub name: String,
    /// Its page: number among the domain's device pages.
    pub slot: u32,
    /// The guest's port for the handshake.
    pub config_port: u32,
    /// The guest's ports of its queues.
    pub queue_ports: Vec<u32>,
}

/// The domain a device is for.
#[derive(Clone, Debug)]
pub struct Home {
    /// Its number.
    pub domain: DomainId,
    /// Its identity: its devices' directory.
    pub uuid: Uuid,
    /// Bytes of its memory.
    pub memory: u64,
}

impl Home {
    fn dir(&self, daemon: &Daemon, slot: u32) -> PathBuf {
        device_dir(daemon, self.uuid, slot)
    }
}

/// Where a device's files are.
pub fn device_dir(daemon: &Daemon, uuid: Uuid, slot: u32) -> PathBuf {
    daemon.paths.devices(uuid).join(slot.to_string())
}

/// A device whose process serves it; undone when dropped.
pub struct Begun {
    /// What it is.
    pub record: DeviceRecord,
    dir: PathBuf,
    running: Option<Box<dyn Running>>,
}

impl Begun {
    /// It is somebody else's from now on.
    pub fn release(mut self) -> (DeviceRecord, Option<Box<dyn Running>>) {
        let running = self.running.take();
        let record = self.record.clone();
        std::mem::forget(self);
        (record, running)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        end(&self.dir, self.running.take());
    }
}

/// Ends a backend in any way, waits until it is gone, removes its files.
pub fn end(dir: &Path, running: Option<Box<dyn Running>>) {
    launch::stop(&dir.join("socket"), running);
    network::release(dir);
    if let Err(e) = std::fs::remove_dir_all(dir)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {e}", dir.display());
    }
    // The domain's directory goes with its last device.
    if let Some(parent) = dir.parent() {
        let _ = std::fs::remove_dir(parent);
    }
}

/// Ends every backend of a domain that may be there, and removes its files.
/// Blocks.
pub fn clear(daemon: &Daemon, uuid: Uuid) {
    let dir = daemon.paths.devices(uuid);
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        end(&entry.path(), None);
    }
    let _ = std::fs::remove_dir(dir);
}

/// Domains that have directories of devices.
pub fn domains(daemon: &Daemon) -> Vec<Uuid> {
    let entries = std::fs::read_dir(daemon.paths.all_devices()).into_iter().flatten().flatten();
    entries.filter_map(|e| Uuid::parse_str(&e.file_name().to_string_lossy()).ok()).collect()
}

/// Ports of the guest for a device, old ones that are free first.
fn make_ports(
    core: &dyn Core,
    domain: DomainId,
    count: u32,
    spare: &mut Vec<u32>,
) -> Answer<Vec<u32>> {
    let mut ports = Vec::new();
    while (ports.len() as u32) < count {
        match spare.pop() {
            // The guest may have closed it, and made another of that number.
            Some(port) => {
                let status = core.event_status(domain, port)?;
                if status.kind == hv_abi::event::kind::UNBOUND && status.remote == 0 {
                    ports.push(port);
                }
            }
            None => ports.push(core.event_alloc(domain)?),
        }
    }
    Ok(ports)
}

/// Makes a device in a free slot; see the module. `spare` are ports of the
/// guest that an earlier device had.
pub fn begin(
    daemon: &Daemon,
    home: &Home,
    plan: &Plan,
    (slot, incarnation): (u32, u32),
    spare: &mut Vec<u32>,
) -> Answer<Begun> {
    let settings = match plan.kind {
        "network" => {
            let host = network::Host::machine(&daemon.paths);
            network::ready(&host, home.uuid, slot, plan)?
        }
        _ => plan.settings.clone(),
    };
    let mut ports = make_ports(&*daemon.core, home.domain, plan.queues + 1, spare)?;
    let queue_ports = ports.split_off(1);
    let record = DeviceRecord {
        kind: plan.kind.into(),
        name: plan.name.clone(),
        slot,
        config_port: ports[0],
        queue_ports,
    };
    let file = DeviceFile {
        kind: record.kind.clone(),
        name: record.name.clone(),
        domain: home.domain,
        page: layout::DEVICES + u64::from(slot) * PAGE_SIZE,
        incarnation,
        memory: layout::ram(home.memory).iter().map(|r| (r.start, r.end - r.start)).collect(),
        config_port: record.config_port,
        queue_ports: record.queue_ports.clone(),
        uid: UIDS + u32::from(home.domain) * layout::DEVICE_PAGES + slot,
        settings,
    };
    let dir = home.dir(daemon, slot);
    let write = || {
        let _ = std::fs::remove_dir_all(&dir);
        Files::write(&dir, &file)
    };
    write().map_err(|e| {
        let message = format!("cannot write the files of `{}`: {e}", plan.name);
        Problem::new("failed", message).hint("is the file system of /run full?")
    })?;
    // From here on dropping `begun` undoes everything.
    let mut begun = Begun { record, dir: dir.clone(), running: None };
    let running = daemon.launcher.launch(plan.kind, &dir);
    let running = running.map_err(|e| {
        let program = launch::program(plan.kind);
        let problem = Problem::new("failed", format!("cannot start {program}: {e}"));
        problem.hint("it belongs next to hvd")
    })?;
    let running = begun.running.insert(running);
    wait_begun(&dir, &mut **running).map_err(|why| {
        let problem = Problem::new("invalid", why);
        problem.field(&plan.field)
    })?;
    Ok(begun)
}

/// Waits until a backend says what state its device is in.
fn wait_begun(dir: &Path, running: &mut dyn Running) -> Result<(), String> {
    let start = Instant::now();
    let socket = dir.join("socket");
    while start.elapsed() < BEGINNING {
        if let Ok(stream) = UnixStream::connect(&socket) {
            let _ = stream.set_read_timeout(Some(BEGINNING));
            let mut line = String::new();
            if BufReader::new(stream).read_line(&mut line).is_ok_and(|n| n > 0) {
                return Ok(());
            }
        }
        if let Some(how) = running.ended() {
            return Err(last_words(dir).unwrap_or(how));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err("its backend does not answer".into())
}

/// What a backend said last.
pub fn last_words(dir: &Path) -> Option<String> {
    let log = std::fs::read_to_string(dir.join("log")).ok()?;
    log.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// Tells a running guest that its devices have changed.
pub fn raise_bus(core: &dyn Core, domain: DomainId, port: u32) -> Answer<()> {
    if port != 0 {
        // Bound for this moment only: a daemon that is killed keeps nothing.
        EventPort::bind(core, domain, port)?.send()?;
    }
    Ok(())
}
