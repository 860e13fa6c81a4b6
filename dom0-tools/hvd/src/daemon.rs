// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domains the daemon knows, and how requests find them.
//!
//! An [`Entry`] is a domain the daemon is responsible for: it holds the name
//! from before the core has the domain until after it is gone, across restarts.
//! Whoever changes an entry's life holds its `work` lock; the fields behind
//! plain mutexes are only looked at or replaced.

use crate::console::{Hub, Service};
use crate::devices::launch::Launcher;
use crate::devices::supervise::Device;
use crate::devices::verbs;
use crate::journal::Journal;
use crate::paths::Paths;
use crate::problem::{Answer, Problem};
use crate::record::Record;
use hv_abi::domain::{DomainInfo, state};
use hv_abi::{DOM_CONTROL, DomainId};
use hv_client::{Calls, Core};
use hv_toolstack::api::Domain;
use hv_toolstack::{domain, file};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Mutex as AsyncMutex, Notify};

/// A domain the daemon is responsible for.
pub struct Entry {
    /// Output and input, across restarts.
    pub hub: Arc<Hub>,
    /// Held by whoever changes the domain's life.
    pub work: AsyncMutex<()>,
    live: Mutex<Live>,
}

/// What changes about an entry.
pub struct Live {
    /// What is remembered on disk.
    pub record: Record,
    /// The console being served.
    pub service: Option<Service>,
    /// Its devices, supervised.
    pub devices: Vec<Device>,
    /// When this life began.
    pub started: Instant,
    /// Lives in a row that were short.
    pub short_lives: u32,
    /// Whether its stop was acted upon.
    pub stop_seen: bool,
}

impl Entry {
    /// An entry for a record.
    pub fn new(record: Record) -> Arc<Self> {
        Arc::new(Self {
            hub: Arc::default(),
            work: AsyncMutex::default(),
            live: Mutex::new(Live {
                record,
                service: None,
                devices: Vec::new(),
                started: Instant::now(),
                short_lives: 0,
                stop_seen: false,
            }),
        })
    }

    /// A look at it, not to be held across waiting.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The domain's number, while it has one.
    pub fn id(&self) -> Option<DomainId> {
        self.live().record.id
    }

    /// The domain's name.
    pub fn name(&self) -> String {
        self.live().record.spec.name.clone()
    }

    /// Lets go of the console, after taking what is left in it.
    pub async fn detach(&self) {
        let service = self.live().service.take();
        if let Some(service) = service {
            service.stop().await;
        }
    }
}

/// The daemon.
pub struct Daemon {
    /// The core's doors.
    pub core: Arc<dyn Core>,
    /// Its files.
    pub paths: Paths,
    /// Starts backends.
    pub launcher: Arc<dyn Launcher>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// The core's log has new text.
    pub log_news: Notify,
    /// Frames of the pool in use while there was no guest, if there ever was
    /// such a moment: what the core needs for itself.
    pub quiet_frames: Mutex<Option<u64>>,
    entries: Mutex<Vec<Arc<Entry>>>,
}

/// What a request is about.
pub struct Target {
    /// The core's figures.
    pub info: DomainInfo,
    /// Its entry, unless the daemon did not make it.
    pub entry: Option<Arc<Entry>>,
}

impl Target {
    /// Number.
    pub fn id(&self) -> DomainId {
        self.info.domain as DomainId
    }

    /// Name.
    pub fn name(&self) -> String {
        domain::name(&self.info)
    }

    /// Refuses what may not be done to the control domain.
    pub fn guest(self, verb: &str) -> Answer<Self> {
        if self.id() == DOM_CONTROL {
            let message = format!("the control domain cannot be {verb}");
            return Err(Problem::new("refused", message));
        }
        Ok(self)
    }
}

impl Daemon {
    /// A daemon that knows no domain yet.
    pub fn new(core: Arc<dyn Core>, paths: Paths, launcher: Arc<dyn Launcher>) -> Arc<Self> {
        Arc::new(Self {
            core,
            paths,
            launcher,
            journal: Arc::default(),
            log_news: Notify::new(),
            quiet_frames: Mutex::default(),
            entries: Mutex::default(),
        })
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every entry.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.list().clone()
    }

    /// Takes responsibility, unless the name is taken.
    pub fn insert(&self, entry: &Arc<Entry>) -> Answer<()> {
        let name = entry.name();
        let busy = |what: &str| {
            let problem = Problem::new("busy", format!("a domain named `{name}` is {what}"));
            Err(problem.hint("try again in a moment"))
        };
        let domains = self.core.domains()?;
        let mut list = self.list();
        if let Some(info) = domains.iter().find(|info| domain::name(info) == name)
            && info.uuid != *entry.live().record.uuid.as_bytes()
        {
            let word = domain::state_word(info);
            if info.state & (state::NEW | state::DYING) != 0 {
                return busy(word);
            }
            let id = info.domain;
            let message = format!("a domain named `{name}` exists already: number {id}, {word}");
            return Err(Problem::new("exists", message)
                .hint(format!("`hvctl destroy {name}` first, or create it with name=OTHER")));
        }
        // An entry without a domain: just before its beginning or after its end.
        if list.iter().any(|e| e.name() == name) {
            return busy("just coming or going");
        }
        list.push(entry.clone());
        Ok(())
    }

    /// Gives up responsibility; readers of the console see its end.
    pub fn remove(&self, entry: &Arc<Entry>) {
        self.list().retain(|e| !Arc::ptr_eq(e, entry));
        entry.hub.close();
    }

    /// The entry of a domain, also while it is being built.
    pub fn entry_of(&self, info: &DomainInfo) -> Option<Arc<Entry>> {
        let mine = |e: &&Arc<Entry>| *e.live().record.uuid.as_bytes() == info.uuid;
        self.list().iter().find(mine).cloned()
    }

    /// Whether the daemon is still responsible for an entry.
    pub fn knows(&self, entry: &Arc<Entry>) -> bool {
        self.list().iter().any(|e| Arc::ptr_eq(e, entry))
    }

    /// Finds a domain by name or, if no name matches, by number.
    pub fn find(&self, name: &str) -> Answer<Target> {
        let domains = self.core.domains()?;
        let number = name.parse::<u32>().ok();
        let found = domains
            .iter()
            .find(|info| domain::name(info) == name)
            .or_else(|| domains.iter().find(|info| Some(info.domain) == number));
        if let Some(info) = found {
            return Ok(Target { info: *info, entry: self.entry_of(info) });
        }
        if self.list().iter().any(|e| e.name() == name) {
            let message = format!("`{name}` is just being built");
            return Err(Problem::new("busy", message).hint("try again in a moment"));
        }
        let names: Vec<String> = domains.iter().map(domain::name).collect();
        let problem = Problem::new("not-found", format!("there is no domain `{name}`"));
        Err(match file::nearest(name, names.iter().map(|n| &**n)) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("`hvctl list` shows the domains there are"),
        })
    }

    /// A domain's document.
    pub fn describe(&self, info: &DomainInfo, with_spec: bool) -> Domain {
        let mut document = Domain::from(info);
        if let Some(entry) = self.entry_of(info) {
            if let Some(why) = verbs::held(&entry).filter(|_| document.reason.is_none()) {
                document.reason = Some("io-error".into());
                document.reason_text = Some(format!("its I/O failed and is held back: {why}"));
            }
            let live = entry.live();
            document.managed = true;
            document.created_unix = Some(live.record.created_unix);
            document.started_unix = Some(live.record.started_unix);
            document.restarts = live.record.restarts;
            document.spec = with_spec.then(|| live.record.spec.clone());
        }
        document
    }

    /// Lets go of all consoles, before the daemon ends.
    pub async fn detach_all(&self) {
        for entry in self.entries() {
            entry.detach().await;
        }
    }
}
