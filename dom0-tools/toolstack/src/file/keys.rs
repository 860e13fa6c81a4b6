// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys of a domain file, one row each, and what their values become.

use crate::file::nearest;
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
        }
    }
}

/// A row of [`KEYS`].
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name, with a dot for a key of a table.
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
}

/// A value of a type that some key takes.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Numbers(Vec<i64>),
}

impl Value {
    pub fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Value::Text(text.to_string())),
            DeValue::Integer(number) => int(number).map(Value::Number),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_integer().and_then(int))
                .collect::<Option<_>>()
                .map(Value::Numbers),
            _ => None,
        }
    }

    /// The value of an override, as it stands.
    pub fn of_word(kind: Kind, text: &str) -> Result<Self, String> {
        match kind {
            Kind::Number => {
                text.parse().map(Value::Number).map_err(|_| format!("expected {}", kind.text()))
            }
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
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
        })
    }
}

impl Draft {
    pub fn set(&mut self, key: &Key, value: Value) -> Result<(), String> {
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

    pub fn finish(self) -> DomainSpec {
        self.0
    }
}

fn small(n: i64) -> Result<u32, String> {
    u32::try_from(n).map_err(|_| "out of range".into())
}

fn action(text: &str) -> Result<Action, String> {
    if let Some((_, action)) = Action::ALL.iter().find(|(word, _)| *word == text) {
        return Ok(*action);
    }
    Err(match nearest(text, Action::ALL.iter().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("expected {}", Kind::Action.text()),
    })
}
