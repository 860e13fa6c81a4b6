// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain file: TOML text to a [`DomainSpec`].
//!
//! `parse(name, text, overrides)` reports *everything* that is wrong at once,
//! each with the place in the text: unknown keys with the nearest known one,
//! wrong types, values out of range. The known keys are the rows of [`KEYS`].
//! An override is one word `key=value`, the value as it stands, unquoted.

mod diagnostic;
mod keys;
mod suggest;

pub use diagnostic::{Diagnostic, Source};
pub use keys::{KEYS, Key, Kind};
pub use suggest::nearest;

use crate::spec::{DomainSpec, Fault};
use keys::{Draft, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A faultless domain file, and where its values stand.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub spec: DomainSpec,
    sources: Vec<Source>,
    spans: BTreeMap<&'static str, (usize, Range<usize>)>,
}

impl Parsed {
    /// A message that points at a key's value, for faults found later.
    pub fn diagnostic(&self, field: &str, message: &str) -> Diagnostic {
        let at = self.spans.get(field).cloned();
        place(&self.sources, at, message.into())
    }
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug)]
pub struct Faulty(pub Vec<Diagnostic>);

/// Where a value stands: number of its source, and its bytes in it.
type At = (usize, Range<usize>);

fn place(sources: &[Source], at: Option<At>, message: String) -> Diagnostic {
    let (source, span) = match at {
        Some((index, span)) => (sources.get(index).cloned(), Some(span)),
        None => (sources.first().cloned(), None),
    };
    Diagnostic { message, source: source.unwrap_or_default(), span, label: None, help: None }
}

struct Reader {
    sources: Vec<Source>,
    spans: BTreeMap<&'static str, At>,
    /// Keys whose value was refused.
    broken: Vec<&'static str>,
    draft: Draft,
    faults: Vec<Diagnostic>,
}

/// Parses a file's text. `name` is shown in messages.
pub fn parse(name: &str, text: &str, overrides: &[String]) -> Result<Parsed, Faulty> {
    let mut reader = Reader {
        sources: vec![Source::new(name, text)],
        spans: BTreeMap::new(),
        broken: Vec::new(),
        draft: Draft::default(),
        faults: Vec::new(),
    };
    match DeTable::parse(text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(e) => {
            let fault = place(
                &reader.sources,
                e.span().map(|span| (0, span)),
                "the file is no TOML".into(),
            );
            reader.faults.push(Diagnostic { label: Some(e.message().to_string()), ..fault });
            return Err(Faulty(reader.faults));
        }
    }
    for word in overrides {
        reader.override_with(word);
    }
    reader.finish()
}

/// Parses the file at `path`; relative paths in it are relative to it.
pub fn load(path: &Path, overrides: &[String]) -> Result<Parsed, Faulty> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        let message = format!("cannot read {name}: {e}");
        Faulty(vec![place(&[], None, message)])
    })?;
    let mut parsed = parse(&name, &text, overrides)?;
    let base = std::path::absolute(path).ok();
    if let Some(base) = base.as_deref().and_then(Path::parent) {
        let spec = &mut parsed.spec;
        spec.kernel = base.join(&spec.kernel);
        spec.initrd = spec.initrd.take().map(|initrd| base.join(initrd));
    }
    Ok(parsed)
}

impl Reader {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref()
                && KEYS.iter().any(|k| k.path.starts_with(&format!("{path}.")))
            {
                self.table(&format!("{path}."), inner);
                continue;
            }
            match KEYS.iter().find(|k| k.path == path) {
                Some(known) => self.value(known, value),
                None => self.unknown(0, key.span(), &path),
            }
        }
    }

    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let at = (0, value.span());
        match Value::of(value.get_ref()) {
            Some(typed) => self.set(key, at, typed),
            None => {
                let found = value.get_ref().type_str();
                self.fault(at, key, format!("expected {}, found {found}", key.kind.text()));
            }
        }
    }

    fn override_with(&mut self, word: &str) {
        let index = self.sources.len();
        self.sources.push(Source::new("command line", word));
        let Some((path, text)) = word.split_once('=') else {
            let mut fault = place(
                &self.sources,
                Some((index, 0..word.len())),
                format!("`{word}` is no override"),
            );
            fault.help = Some("write key=value, as memory=256M or cpu.weight=512".into());
            self.faults.push(fault);
            return;
        };
        let at = (index, path.len() + 1..word.len());
        match KEYS.iter().find(|k| k.path == path) {
            Some(key) => match Value::of_word(key.kind, text) {
                Ok(value) => self.set(key, at, value),
                Err(message) => self.fault(at, key, message),
            },
            None => self.unknown(index, 0..path.len(), path),
        }
    }

    fn set(&mut self, key: &'static Key, at: At, value: Value) {
        match self.draft.set(key, value) {
            Ok(()) => {
                self.spans.insert(key.path, at);
            }
            Err(message) => self.fault(at, key, message),
        }
    }

    fn fault(&mut self, at: At, key: &Key, label: String) {
        let message = format!("`{}` has no valid value", key.path);
        self.faults.push(Diagnostic {
            label: Some(label),
            help: Some(key.doc.into()),
            ..place(&self.sources, Some(at), message)
        });
        // It is there, if wrongly: no "is missing" on top.
        self.broken.push(key.path);
    }

    fn unknown(&mut self, source: usize, span: Range<usize>, path: &str) {
        let known = KEYS.iter().map(|k| k.path);
        let near = nearest(path, known.clone());
        let message = format!("unknown key `{path}`");
        self.faults.push(Diagnostic {
            label: near.map(|near| format!("did you mean `{near}`?")),
            help: match near {
                Some(_) => None,
                None => Some(format!("known keys: {}", known.collect::<Vec<_>>().join(", "))),
            },
            ..place(&self.sources, Some((source, span)), message)
        });
    }

    fn finish(mut self) -> Result<Parsed, Faulty> {
        // A misspelt key was reported already; its absence is no news.
        let misspelt = self.faults.iter().any(|f| f.message.starts_with("unknown"));
        let absent = |path| !self.spans.contains_key(path) && !self.broken.contains(&path);
        for key in KEYS.iter().filter(|k| k.required && absent(k.path) && !misspelt) {
            self.faults.push(Diagnostic {
                help: Some(format!("add {}: {}", key.example, key.doc)),
                ..place(&self.sources, None, format!("`{}` is missing", key.path))
            });
        }
        let spec = self.draft.finish();
        for Fault { field, message } in spec.faults() {
            let Some(at) = self.spans.get(field).cloned() else {
                continue;
            };
            let text = format!("`{field}` has no valid value");
            self.faults
                .push(Diagnostic { label: Some(message), ..place(&self.sources, Some(at), text) });
        }
        if self.faults.is_empty() {
            let (sources, spans) = (self.sources, self.spans);
            return Ok(Parsed { spec, sources, spans });
        }
        // Tables come sorted by key; people read from top to bottom.
        self.faults.sort_by_key(|fault| fault.position());
        Err(Faulty(self.faults))
    }
}
