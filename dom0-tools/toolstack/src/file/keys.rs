// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys of a domain file, one row each, and what their values become.
//!
//! Length: one table of keys, and beside it what each row does to the spec.

use crate::disk::{self, DiskSpec, Format, Limits, OnIoError};
use crate::file::nearest;
use crate::network::{Mac, NetworkSpec};
use crate::spec::{Action, CpuSpec, DomainSpec};
use crate::units::{CpuSet, parse_size};
use toml::de::DeValue;

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A path, relative to the file.
    Path,
    /// A whole number.
    Number,
    /// Text with a unit.
    Size,
    /// Text such as `0-3,6`, or a list of numbers.
    Cpus,
    /// One of [`Action::ALL`].
    Action,
    /// `true` or `false`.
    Flag,
    /// One of [`Format::ALL`].
    Format,
    /// One of [`OnIoError::ALL`].
    OnIoError,
    /// A list of texts.
    Texts,
}

impl Kind {
    /// For messages.
    pub fn text(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Path => "a path",
            Kind::Number => "a whole number",
            Kind::Size => "a size such as \"128M\"",
            Kind::Cpus => "CPUs such as \"0-3,6\"",
            Kind::Action => "\"destroy\", \"restart\" or \"preserve\"",
            Kind::Flag => "true or false",
            Kind::Format => "\"raw\"",
            Kind::OnIoError => "\"report\" or \"pause\"",
            Kind::Texts => "a list of texts",
        }
    }
}

/// A row of [`KEYS`].
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name, with a dot for a key of a table, or of each of several tables
    /// ([`TABLES`]).
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether a file without it is refused.
    pub required: bool,
    /// A line of a file.
    pub example: &'static str,
    /// What it means, with the default.
    pub doc: &'static str,
}

macro_rules! keys {
    ($($path:literal $kind:ident $required:ident $example:literal $doc:literal;)*) => {
        /// Every key of a domain file.
        pub const KEYS: &[Key] = &[$(Key {
            path: $path,
            kind: Kind::$kind,
            required: keys!(@ $required),
            example: $example,
            doc: $doc,
        }),*];
    };
    (@ required) => { true };
    (@ optional) => { false };
}

keys! {
    "name" Text required "name = \"web\""
        "unique name: letters, digits, `.`, `_`, `-`";
    "kernel" Path required "kernel = \"/boot/hv/guest-bzImage\""
        "the guest's Linux kernel, a bzImage; relative to the domain file";
    "initrd" Path optional "initrd = \"/boot/hv/guest-initrd.cpio\""
        "initial RAM disk; relative to the domain file";
    "cmdline" Text optional "cmdline = \"quiet\""
        "the kernel's command line; console=hvc0 is added unless a console is named";
    "memory" Size required "memory = \"128M\""
        "the domain's memory, with a unit: K, M, G or T";
    "vcpus" Number optional "vcpus = 2"
        "virtual CPUs, 1 to 64; default 1";
    "cpu.weight" Number optional "weight = 512"
        "share of CPU time on a busy host, 1 to 65535; default 256";
    "cpu.cap" Number optional "cap = 50"
        "upper limit of CPU time in percent of one CPU; default 0, none";
    "cpu.affinity" Cpus optional "affinity = \"0-3,6\""
        "CPUs the domain may run on; default all";
    "on_poweroff" Action optional "on_poweroff = \"destroy\""
        "when the guest turns itself off: destroy, restart or preserve; default destroy";
    "on_reboot" Action optional "on_reboot = \"restart\""
        "when the guest reboots: destroy, restart or preserve; default restart";
    "on_crash" Action optional "on_crash = \"preserve\""
        "when the guest crashes: destroy, restart or preserve; default destroy";
    "disk.path" Path required "path = \"web.img\""
        "the image, a file or a block device; relative to the domain file";
    "disk.name" Text optional "name = \"root\""
        "unique name among the domain's disks; default disk0, disk1, …";
    "disk.format" Format optional "format = \"raw\""
        "layout of the image, which is never guessed; default raw";
    "disk.read_only" Flag optional "read_only = true"
        "whether the guest may only read; several domains can read one image; default false";
    "disk.serial" Text optional "serial = \"WEB-0001\""
        "serial number that the guest sees, up to 20 characters; default the disk's name";
    "disk.block_size" Number optional "block_size = 4096"
        "bytes of a sector, 512 or 4096; default 512";
    "disk.direct" Flag optional "direct = false"
        "whether to go around the control domain's page cache where that is possible; default true";
    "disk.discard" Flag optional "discard = false"
        "whether what the guest discards is given back to the host; default true";
    "disk.queues" Number optional "queues = 2"
        "queues, up to 16; default one for each vCPU, but no more than 4";
    "disk.on_io_error" OnIoError optional "on_io_error = \"pause\""
        "when the host's disk is full or broken: report it to the guest, or pause the domain; default report";
    "disk.read_bytes" Size optional "read_bytes = \"50M\""
        "most bytes read per second; default no limit";
    "disk.read_bytes_burst" Size optional "read_bytes_burst = \"200M\""
        "bytes that may be read at once after a rest; default a tenth of a second's";
    "disk.read_ops" Number optional "read_ops = 1000"
        "most reads per second; default no limit";
    "disk.read_ops_burst" Number optional "read_ops_burst = 5000"
        "reads at once after a rest; default a tenth of a second's";
    "disk.write_bytes" Size optional "write_bytes = \"50M\""
        "most bytes written per second; default no limit";
    "disk.write_bytes_burst" Size optional "write_bytes_burst = \"200M\""
        "bytes that may be written at once after a rest; default a tenth of a second's";
    "disk.write_ops" Number optional "write_ops = 1000"
        "most writes per second; default no limit";
    "disk.write_ops_burst" Number optional "write_ops_burst = 5000"
        "writes at once after a rest; default a tenth of a second's";
    "network.bridge" Text optional "bridge = \"br0\""
        "the bridge the card is a port of; this or `nat`";
    "network.nat" Flag optional "nat = true"
        "the card is on the NAT network, with an address by DHCP; the network is made when it is needed first";
    "network.name" Text optional "name = \"lan\""
        "unique name among the domain's cards; default net0, net1, …";
    "network.mac" Text optional "mac = \"02:68:76:00:00:01\""
        "the card's address; default one made of the domain's identity";
    "network.mtu" Number optional "mtu = 1500"
        "largest packet in bytes, 68 to 65521; default 1500";
    "network.vlan" Number optional "vlan = 10"
        "the VLAN of the bridge that the card is in, untagged, 1 to 4094; default the bridge's own";
    "network.queues" Number optional "queues = 2"
        "pairs of queues, 1 to 16; default one for each vCPU";
    "network.link" Flag optional "link = false"
        "whether the link is up at first; default true";
    "network.antispoof" Flag optional "antispoof = false"
        "whether frames with another source address are dropped; default true";
    "network.addresses" Texts optional "addresses = [\"10.0.0.5\"]"
        "the only IP addresses the guest may use: as source, in ARP, in neighbour discovery; default any, on the NAT network its own";
    "network.send_rate" Size optional "send_rate = \"10M\""
        "most bytes the guest sends per second, at least 64K; default no limit";
    "network.receive_rate" Size optional "receive_rate = \"10M\""
        "most bytes the guest receives per second, at least 64K; default no limit";
}

/// Tables of which a file may have several: `[[disk]]`.
pub const TABLES: &[&str] = &["disk", "network"];

/// A value of a type that some key takes.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Numbers(Vec<i64>),
    Flag(bool),
    Texts(Vec<String>),
}

impl Value {
    pub fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Value::Text(text.to_string())),
            DeValue::Integer(number) => int(number).map(Value::Number),
            DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_integer().and_then(int))
                .collect::<Option<_>>()
                .map(Value::Numbers)
                .or_else(|| {
                    let text = |item: &toml::Spanned<DeValue<'_>>| {
                        item.get_ref().as_str().map(str::to_owned)
                    };
                    items.iter().map(text).collect::<Option<_>>().map(Value::Texts)
                }),
            _ => None,
        }
    }

    /// The value of an override, as it stands.
    pub fn of_word(kind: Kind, text: &str) -> Result<Self, String> {
        match kind {
            Kind::Number => {
                text.parse().map(Value::Number).map_err(|_| format!("expected {}", kind.text()))
            }
            Kind::Flag => {
                text.parse().map(Value::Flag).map_err(|_| format!("expected {}", kind.text()))
            }
            Kind::Texts => Ok(Value::Texts(text.split(',').map(str::to_owned).collect())),
            _ => Ok(Value::Text(text.into())),
        }
    }
}

fn int(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

/// A spec in the making: defaults until a key says otherwise.
pub(super) struct Draft(DomainSpec);

impl Default for Draft {
    fn default() -> Self {
        Self(DomainSpec {
            name: String::new(),
            kernel: Default::default(),
            initrd: None,
            cmdline: String::new(),
            memory: 0,
            vcpus: 1,
            cpu: CpuSpec::default(),
            disks: Vec::new(),
            networks: Vec::new(),
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
        })
    }
}

impl Draft {
    /// One more of [`TABLES`].
    pub fn add(&mut self, table: &str) {
        match table {
            "disk" => self.0.disks.push(DiskSpec::default()),
            _ => self.0.networks.push(NetworkSpec::default()),
        }
    }

    /// Number of [`TABLES`] of this name.
    pub fn count(&self, table: &str) -> usize {
        match table {
            "disk" => self.0.disks.len(),
            _ => self.0.networks.len(),
        }
    }

    /// Sets a key; `index` says of which of several tables.
    pub fn set(&mut self, key: &Key, index: usize, value: Value) -> Result<(), String> {
        if let Some(("disk", name)) = key.path.split_once('.') {
            let disk = self.0.disks.get_mut(index).ok_or("there is no such disk")?;
            return set_disk(disk, name, key.kind, value);
        }
        if let Some(("network", name)) = key.path.split_once('.') {
            let network = self.0.networks.get_mut(index).ok_or("there is no such card")?;
            return set_network(network, name, key.kind, value);
        }
        let spec = &mut self.0;
        let wrong = || Err(format!("expected {}", key.kind.text()));
        match (key.path, value) {
            ("name", Value::Text(text)) => spec.name = text,
            ("kernel", Value::Text(text)) => spec.kernel = text.into(),
            ("initrd", Value::Text(text)) => {
                spec.initrd = Some(text).filter(|t| !t.is_empty()).map(Into::into);
            }
            ("cmdline", Value::Text(text)) => spec.cmdline = text,
            ("memory", Value::Text(text)) => spec.memory = parse_size(&text)?,
            ("memory", Value::Number(n)) => spec.memory = parse_size(&n.to_string())?,
            ("vcpus", Value::Number(n)) => spec.vcpus = small(n)?,
            ("cpu.weight", Value::Number(n)) => spec.cpu.weight = small(n)?,
            ("cpu.cap", Value::Number(n)) => spec.cpu.cap = small(n)?,
            ("cpu.affinity", Value::Text(text)) => {
                spec.cpu.affinity = match &*text {
                    "all" => None,
                    _ => Some(CpuSet::parse(&text)?),
                }
            }
            ("cpu.affinity", Value::Number(n)) => {
                spec.cpu.affinity = Some(CpuSet::parse(&n.to_string())?);
            }
            ("cpu.affinity", Value::Numbers(list)) => {
                let list: Vec<String> = list.iter().map(i64::to_string).collect();
                spec.cpu.affinity = Some(CpuSet::parse(&list.join(","))?);
            }
            ("on_poweroff", Value::Text(text)) => spec.on_poweroff = action(&text)?,
            ("on_reboot", Value::Text(text)) => spec.on_reboot = action(&text)?,
            ("on_crash", Value::Text(text)) => spec.on_crash = action(&text)?,
            _ => return wrong(),
        }
        Ok(())
    }

    pub fn finish(mut self) -> DomainSpec {
        disk::name_all(&mut self.0.disks);
        self.0
    }
}

/// Sets a key of a disk; the domain file's and `hvctl block-attach`'s.
fn set_disk(disk: &mut DiskSpec, name: &str, kind: Kind, value: Value) -> Result<(), String> {
    let rate = |limits: &mut Limits, name: &str, n: u64| match name {
        "bytes" => limits.bytes = n,
        "bytes_burst" => limits.bytes_burst = n,
        "ops" => limits.ops = n,
        _ => limits.ops_burst = n,
    };
    match (name, value) {
        ("name", Value::Text(text)) => disk.name = text,
        ("path", Value::Text(text)) => disk.path = text.into(),
        ("serial", Value::Text(text)) => disk.serial = text,
        ("format", Value::Text(text)) => disk.format = one_of(&text, &Format::ALL, kind)?,
        ("on_io_error", Value::Text(text)) => {
            disk.on_io_error = one_of(&text, &OnIoError::ALL, kind)?;
        }
        ("read_only", Value::Flag(flag)) => disk.read_only = flag,
        ("direct", Value::Flag(flag)) => disk.direct = flag,
        ("discard", Value::Flag(flag)) => disk.discard = flag,
        ("block_size", Value::Number(n)) => disk.block_size = small(n)?,
        ("queues", Value::Number(n)) => disk.queues = small(n)?,
        (name, value) => {
            let n = match (kind, value) {
                (Kind::Size, Value::Text(text)) => parse_size(&text)?,
                (Kind::Size | Kind::Number, Value::Number(n)) => {
                    u64::try_from(n).map_err(|_| "out of range")?
                }
                _ => return Err(format!("expected {}", kind.text())),
            };
            match name.split_once('_') {
                Some(("read", what)) => rate(&mut disk.read, what, n),
                Some(("write", what)) => rate(&mut disk.write, what, n),
                _ => return Err(format!("expected {}", kind.text())),
            }
        }
    }
    Ok(())
}

/// A disk from words `key=value`, without the `disk.` of the domain file.
pub fn disk_of_words(words: &[String]) -> Result<DiskSpec, String> {
    let mut disk = DiskSpec::default();
    for word in words {
        let (name, text) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not of the form key=value, as path=/x.img"))?;
        let path = format!("disk.{name}");
        let Some(key) = KEYS.iter().find(|k| k.path == path) else {
            let known = KEYS.iter().filter_map(|k| k.path.strip_prefix("disk."));
            return Err(match nearest(name, known.clone()) {
                Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
                None => {
                    let known: Vec<_> = known.collect();
                    format!("unknown key `{name}`; known keys: {}", known.join(", "))
                }
            });
        };
        Value::of_word(key.kind, text)
            .and_then(|value| set_disk(&mut disk, name, key.kind, value))
            .map_err(|why| format!("`{name}` has no valid value: {why}"))?;
    }
    match disk.faults().into_iter().next() {
        Some((key, why)) => Err(format!("`{key}` has no valid value: {why}")),
        None => Ok(disk),
    }
}

/// The value of a word, or what to say about it.
fn one_of<T: Copy>(text: &str, all: &[(&'static str, T)], kind: Kind) -> Result<T, String> {
    if let Some((_, value)) = all.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    Err(match nearest(text, all.iter().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("expected {}", kind.text()),
    })
}

fn small(n: i64) -> Result<u32, String> {
    u32::try_from(n).map_err(|_| "out of range".into())
}

fn action(text: &str) -> Result<Action, String> {
    one_of(text, &Action::ALL, Kind::Action)
}

/// Sets a key of a card; the domain file's and `hvctl network-attach`'s.
fn set_network(
    network: &mut NetworkSpec,
    name: &str,
    kind: Kind,
    value: Value,
) -> Result<(), String> {
    let word = |n: i64| u16::try_from(n).map_err(|_| "out of range".to_owned());
    match (name, value) {
        ("name", Value::Text(text)) => network.name = text,
        ("bridge", Value::Text(text)) => {
            network.bridge = Some(text).filter(|text| !text.is_empty());
        }
        ("nat", Value::Flag(flag)) => network.nat = flag,
        ("mac", Value::Text(text)) => network.mac = Some(Mac::parse(&text)?),
        ("mtu", Value::Number(n)) => network.mtu = word(n)?,
        ("vlan", Value::Number(n)) => network.vlan = Some(word(n)?),
        ("queues", Value::Number(n)) => network.queues = Some(word(n)?),
        ("link", Value::Flag(flag)) => network.link = flag,
        ("antispoof", Value::Flag(flag)) => network.antispoof = flag,
        ("addresses", Value::Texts(list)) => {
            let address = |text: &String| {
                text.trim().parse().map_err(|_| format!("`{text}` is no IP address"))
            };
            network.addresses = Some(list.iter().map(address).collect::<Result<_, _>>()?);
        }
        ("send_rate", Value::Text(text)) => network.send_rate = parse_rate(&text)?,
        ("receive_rate", Value::Text(text)) => network.receive_rate = parse_rate(&text)?,
        _ => return Err(format!("expected {}", kind.text())),
    }
    Ok(())
}

/// A size, or 0 for no limit.
fn parse_rate(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_size(text) }
}

/// A card from words `key=value`, without the `network.` of the domain file,
/// upon what it was.
pub fn network_of_words(words: &[String], mut network: NetworkSpec) -> Result<NetworkSpec, String> {
    for word in words {
        let (name, text) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not of the form key=value, as bridge=br0"))?;
        let path = format!("network.{name}");
        let Some(key) = KEYS.iter().find(|k| k.path == path) else {
            let known: Vec<_> =
                KEYS.iter().filter_map(|k| k.path.strip_prefix("network.")).collect();
            return Err(match nearest(name, known.iter().copied()) {
                Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
                None => format!("unknown key `{name}`; known keys: {}", known.join(", ")),
            });
        };
        Value::of_word(key.kind, text)
            .and_then(|value| set_network(&mut network, name, key.kind, value))
            .map_err(|why| format!("`{name}` has no valid value: {why}"))?;
    }
    match network.faults().into_iter().next() {
        Some((key, why)) => Err(format!("`{key}` has no valid value: {why}")),
        None => Ok(network),
    }
}
