// SPDX-License-Identifier: MIT OR Apache-2.0
//! The main thread of a backend: the handshake with the guest, the control
//! socket, and what the queues' threads report.
//!
//! On the socket, one JSON object per line. A request is
//! `{"id": 7, "do": "stats", …}`; its answer `{"id": 7, "ok": {…}}` or
//! `{"id": 7, "error": "…"}`. Without being asked the backend sends
//! `{"event": "state", "phase": "…", "reason": …}` at the beginning and at each
//! change, and `{"event": "removed"}` before it ends.
//!
//! | `do` | What |
//! |---|---|
//! | `stats` | counters ([`Device::stats`]) |
//! | `remove` | asks the guest to let go; then the slot is emptied and the backend ends |
//! | `resume` | what was held back is tried again ([`Device::command`]); the answer comes when nothing counts as held any more |
//! | `quit` | ends without asking; the slot stays as it is |
//! | others | [`Device::command`] |

mod control;
mod handshake;

use crate::files::Files;
use crate::ring::Ring;
use crate::slot::Slot;
use crate::track::State;
use crate::{Error, ring};
use control::Control;
use hv_client::{Core, EventPort, Events, GuestMemory, uring};
use hv_io::Fault;
use hv_io::slot::QUEUES_MAX;
use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a device is, towards the guest.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// One of `hv_io::device_id`.
    pub device_id: u32,
    /// Features, besides those every device here has.
    pub features: u64,
    /// Configuration space.
    pub config: Vec<u8>,
    /// Largest size of a queue, at most [`crate::track::SIZE_MAX`].
    pub queue_size: u16,
}

/// A queue that the guest has set up.
pub struct Started {
    /// Its number.
    pub index: usize,
    /// It.
    pub ring: Ring,
}

/// Answer of a command.
#[derive(Debug, Default)]
pub struct Command {
    /// For whom asked.
    pub answer: Value,
    /// New configuration space, if it changed.
    pub config: Option<Vec<u8>>,
}

/// A kind of device. All of this is called on the main thread.
pub trait Device {
    /// What it is.
    fn offer(&self) -> Offer;
    /// Whether each queue's requests are completed in the order they came. Then
    /// they are not tracked: what was not completed when a backend was killed
    /// is done again, from the first on.
    fn in_order(&self) -> bool {
        false
    }
    /// The guest is ready: serve these queues.
    fn start(&mut self, features: u64, queues: Vec<Started>);
    /// Stop serving; when this returns nobody touches the guest's memory.
    fn stop(&mut self);
    /// A request on the control socket; an error is told to whom asked.
    fn command(&mut self, verb: &str, request: &Value) -> Result<Command, String>;
    /// Counters.
    fn stats(&self) -> Value;
}

/// What a queue's thread tells the main thread.
#[derive(Debug)]
pub enum Report {
    /// The guest broke the rules.
    Fault {
        /// Queue.
        queue: usize,
        /// How.
        fault: Fault,
    },
    /// Requests of a queue are held back, or no longer.
    Held {
        /// Queue.
        queue: usize,
        /// Why.
        reason: Option<String>,
    },
    /// A thread cannot go on for a reason of the host's: the backend ends, and
    /// is started again.
    Broken(String),
}

/// Where queues' threads put their reports.
#[derive(Clone)]
pub struct Reporter {
    sender: Sender<Report>,
    signal: Arc<OwnedFd>,
}

impl Reporter {
    /// Tells the main thread.
    pub fn send(&self, report: Report) {
        if self.sender.send(report).is_ok() {
            let _ = uring::signal(&self.signal);
        }
    }
}

/// See the module.
pub struct Service {
    files: Files,
    slot: Slot,
    state: Arc<State>,
    memory: GuestMemory,
    config_port: EventPort,
    ports: Vec<Arc<EventPort>>,
    control: Control,
    reporter: Reporter,
    reports: Receiver<Report>,
    offered: u64,
    queue_size: u16,
    in_order: bool,
    removing: bool,
    /// Why requests are held back, for each queue that holds some.
    held: BTreeMap<usize, String>,
    fault: Option<String>,
}

/// How [`Service::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest let go, the slot is empty.
    Removed,
    /// As asked; the device is still there for a successor.
    Quit,
}

impl Service {
    /// Opens what every backend needs: memory, ports, state, control socket.
    pub fn open(core: &dyn Core, files: Files) -> Result<Self, Error> {
        let device = &files.device;
        let queues = device.queue_ports.len();
        if queues == 0 || queues > QUEUES_MAX {
            return Err(Error::Settings(format!("{queues} queues are not possible")));
        }
        let state = Arc::new(State::open(&files.state(), device.incarnation)?);
        let slot = Slot::map(core, device.domain, device.page)?;
        let memory = GuestMemory::map(core, device.domain, &device.memory)?;
        let events: Arc<dyn Events> = core.events(Some(device.domain))?;
        let join = |port: u32| {
            let fd = uring::blocking_eventfd()?;
            let fd = fd.try_clone().map_err(|e| Error::system("share an eventfd", e))?;
            Ok::<_, Error>(EventPort::join(&events, device.domain, port, fd)?)
        };
        let config_port = join(device.config_port)?;
        let ports = device.queue_ports.iter().map(|port| join(*port).map(Arc::new));
        let ports = ports.collect::<Result<_, _>>()?;
        let control = Control::listen(&files.socket())?;
        let (sender, reports) = channel();
        let reporter = Reporter { sender, signal: uring::blocking_eventfd()? };
        Ok(Self {
            files,
            slot,
            state,
            memory,
            config_port,
            ports,
            control,
            reporter,
            reports,
            offered: 0,
            queue_size: 0,
            in_order: false,
            removing: false,
            held: BTreeMap::new(),
            fault: None,
        })
    }

    /// What the daemon told us.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// For the queues' threads.
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// Serves until the device is removed or the daemon wants an end.
    pub fn run(mut self, device: &mut dyn Device) -> Result<End, Error> {
        self.appear(device)?;
        let result = self.serve(device);
        device.stop();
        if matches!(result, Ok(End::Removed)) {
            self.slot.clear()?;
            let _ = self.config_port.send();
            self.control.tell(&json!({ "event": "removed" }));
        }
        result
    }

    fn serve(&mut self, device: &mut dyn Device) -> Result<End, Error> {
        self.tell_state();
        loop {
            self.handshake(device)?;
            if self.removing && self.state.status() == 0 {
                return Ok(End::Removed);
            }
            let (config, reports) = self.wait()?;
            if config {
                self.config_port.take();
            }
            if reports {
                self.take_reports(device)?;
            }
            for (client, request) in self.control.requests() {
                let id = request.get("id").cloned().unwrap_or_default();
                let verb = request.get("do").and_then(Value::as_str).unwrap_or_default();
                let answer = match self.request(device, verb, &request) {
                    Ok(answer) => json!({ "id": id, "ok": answer }),
                    Err(error) => json!({ "id": id, "error": error }),
                };
                self.control.answer(client, &answer);
                if verb == "quit" {
                    return Ok(End::Quit);
                }
            }
        }
    }

    /// Waits; whether the guest, and whether a thread of ours, has news.
    fn wait(&self) -> Result<(bool, bool), Error> {
        let input = PollFlags::IN;
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.config_port.as_fd(), input),
            PollFd::from_borrowed_fd(self.reporter.signal.as_fd(), input),
        ];
        fds.extend(self.control.fds().map(|fd| PollFd::from_borrowed_fd(fd, input)));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::system("wait", e)),
        }
        let ready = |i: usize| fds.get(i).is_some_and(|fd| fd.revents().contains(input));
        Ok((ready(0), ready(1)))
    }

    fn take_reports(&mut self, device: &mut dyn Device) -> Result<(), Error> {
        let _ = rustix::io::read(&self.reporter.signal, &mut [0u8; 8]);
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Fault { queue, fault } => {
                    device.stop();
                    self.quarantine(fault, &format!("queue {queue}: "))?;
                }
                Report::Held { queue, reason } => {
                    match reason {
                        Some(reason) => self.held.insert(queue, reason),
                        None => self.held.remove(&queue),
                    };
                    self.tell_state();
                }
                Report::Broken(why) => return Err(Error::Settings(why)),
            }
        }
        Ok(())
    }

    /// What threads said of a driver that has reset the device is of no
    /// concern any more; that one cannot go on still is.
    fn forget_reports(&mut self) {
        let broken = |report: &Report| matches!(report, Report::Broken(_));
        let kept: Vec<Report> = self.reports.try_iter().filter(broken).collect();
        kept.into_iter().for_each(|report| self.reporter.send(report));
    }

    fn request(
        &mut self,
        device: &mut dyn Device,
        verb: &str,
        request: &Value,
    ) -> Result<Value, String> {
        match verb {
            "stats" => Ok(device.stats()),
            "state" => Ok(self.state_document()),
            "quit" => Ok(json!({})),
            "remove" => {
                self.removing = true;
                let asked = hv_io::slot::state::PRESENT | hv_io::slot::state::REMOVING;
                self.slot.set_state(asked).map_err(|e| e.to_string())?;
                let _ = self.config_port.send();
                self.tell_state();
                Ok(json!({}))
            }
            _ => {
                if verb == "resume" && !self.held.is_empty() {
                    // Told before the answer: who asked sees whether it fails again.
                    self.held.clear();
                    self.tell_state();
                }
                let done = device.command(verb, request)?;
                if let Some(config) = done.config {
                    self.slot.configure(&config).map_err(|e| e.to_string())?;
                    let _ = self.config_port.send();
                }
                Ok(done.answer)
            }
        }
    }

    /// The state as clients see it.
    fn state_document(&self) -> Value {
        let status = self.state.status();
        let phase = match status {
            _ if self.removing => "removing",
            _ if status & hv_io::status::NEEDS_RESET != 0 => "quarantined",
            _ if !self.held.is_empty() => "held",
            _ if self.state.runs() => "connected",
            _ => "waiting",
        };
        let reason = match phase {
            "quarantined" => self.fault.as_ref(),
            _ => self.held.values().next(),
        };
        json!({ "phase": phase, "reason": reason, "status": status })
    }

    fn tell_state(&mut self) {
        let mut document = self.state_document();
        document["event"] = "state".into();
        self.control.announce(document);
    }
}

/// The queues of a device, as they are in the state.
fn rings(service: &Service, resume: bool) -> Result<Vec<Started>, Fault> {
    let features = service.state.features();
    let mut started = Vec::new();
    for (index, port) in service.ports.iter().enumerate() {
        if let Some(queue) = service.state.queue(index) {
            let memory = service.memory.clone();
            let ring =
                ring::Ring::new(memory, queue, port.clone(), features, resume, service.in_order)?;
            started.push(Started { index, ring });
        }
    }
    Ok(started)
}
