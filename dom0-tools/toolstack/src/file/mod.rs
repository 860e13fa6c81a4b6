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
pub use keys::{KEYS, Key, Kind, TABLES, disk_of_words, network_of_words};
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
    spans: BTreeMap<String, At>,
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
    spans: BTreeMap<String, At>,
    /// Keys whose value was refused.
    broken: Vec<String>,
    /// Where each of several tables stands.
    tables: Vec<(&'static str, At)>,
    draft: Draft,
    faults: Vec<Diagnostic>,
}

/// Parses a file's text. `name` is shown in messages.
pub fn parse(name: &str, text: &str, overrides: &[String]) -> Result<Parsed, Faulty> {
    let mut reader = Reader {
        sources: vec![Source::new(name, text)],
        spans: BTreeMap::new(),
        broken: Vec::new(),
        tables: Vec::new(),
        draft: Draft::default(),
        faults: Vec::new(),
    };
    match DeTable::parse(text) {
        Ok(table) => reader.table("", None, table.get_ref()),
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
        for disk in &mut spec.disks {
            disk.path = base.join(&disk.path);
        }
    }
    Ok(parsed)
}

impl Reader {
    /// Reads a table; `index` counts it among several of the same name.
    fn table(&mut self, prefix: &str, index: Option<usize>, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            if let Some(name) = TABLES.iter().find(|name| **name == path) {
                self.tables_of(name, key.span(), value);
                continue;
            }
            if let DeValue::Table(inner) = value.get_ref()
                && KEYS.iter().any(|k| k.path.starts_with(&format!("{path}.")))
            {
                self.table(&format!("{path}."), None, inner);
                continue;
            }
            match KEYS.iter().find(|k| k.path == path) {
                Some(known) => self.value(known, index, value),
                None => self.unknown(0, key.span(), &path),
            }
        }
    }

    /// Reads `[[disk]]` and its like.
    fn tables_of(&mut self, name: &'static str, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let items = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => {
                let message = format!("`{name}` is not one table but one of several");
                self.faults.push(Diagnostic {
                    label: Some(format!("write [[{name}]]")),
                    ..place(&self.sources, Some((0, key)), message)
                });
                return;
            }
        };
        for item in items {
            match item.get_ref() {
                DeValue::Table(inner) => {
                    let index = self.draft.count(name);
                    self.draft.add(name);
                    self.tables.push((name, (0, item.span())));
                    self.table(&format!("{name}."), Some(index), inner);
                }
                other => {
                    let label = format!("expected a table, found {}", other.type_str());
                    let message = format!("`{name}` has no valid value");
                    self.faults.push(Diagnostic {
                        label: Some(label),
                        ..place(&self.sources, Some((0, item.span())), message)
                    });
                }
            }
        }
    }

    fn value(&mut self, key: &'static Key, index: Option<usize>, value: &Spanned<DeValue<'_>>) {
        let at = (0, value.span());
        match Value::of(value.get_ref()) {
            Some(typed) => self.set(key, index, at, typed),
            None => {
                let found = value.get_ref().type_str();
                let label = format!("expected {}, found {found}", key.kind.text());
                self.fault(at, key, index, label);
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
        let (bare, number) = without_index(path);
        match KEYS.iter().find(|k| k.path == bare && number.is_some() == is_of_several(k)) {
            Some(key) => match Value::of_word(key.kind, text) {
                Ok(value) => self.set(key, number, at, value),
                Err(message) => self.fault(at, key, number, message),
            },
            None => self.unknown(index, 0..path.len(), path),
        }
    }

    fn set(&mut self, key: &'static Key, index: Option<usize>, at: At, value: Value) {
        match self.draft.set(key, index.unwrap_or(0), value) {
            Ok(()) => {
                self.spans.insert(field_of(key, index), at);
            }
            Err(message) => self.fault(at, key, index, message),
        }
    }

    fn fault(&mut self, at: At, key: &Key, index: Option<usize>, label: String) {
        let message = format!("`{}` has no valid value", key.path);
        self.faults.push(Diagnostic {
            label: Some(label),
            help: Some(key.doc.into()),
            ..place(&self.sources, Some(at), message)
        });
        // It is there, if wrongly: no "is missing" on top.
        self.broken.push(field_of(key, index));
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

    /// Every key that must be there: for which of several tables, and where.
    fn wanted(&self) -> Vec<(&'static Key, Option<usize>, Option<At>)> {
        let mut wanted = Vec::new();
        for key in KEYS.iter().filter(|key| key.required) {
            if !is_of_several(key) {
                wanted.push((key, None, None));
            }
            let mine = self.tables.iter().filter(|(name, _)| {
                key.path.split_once('.').is_some_and(|(table, _)| table == *name)
            });
            wanted.extend(mine.enumerate().map(|(i, (_, at))| (key, Some(i), Some(at.clone()))));
        }
        wanted
    }

    fn finish(mut self) -> Result<Parsed, Faulty> {
        // A misspelt key was reported already; its absence is no news.
        let misspelt = self.faults.iter().any(|f| f.message.starts_with("unknown"));
        for (key, index, at) in self.wanted() {
            let field = field_of(key, index);
            if !self.spans.contains_key(&field) && !self.broken.contains(&field) && !misspelt {
                self.faults.push(Diagnostic {
                    help: Some(format!("add {}: {}", key.example, key.doc)),
                    ..place(&self.sources, at, format!("`{}` is missing", key.path))
                });
            }
        }
        let spec = self.draft.finish();
        for Fault { field, message } in spec.faults() {
            let Some(at) = self.spans.get(&field).cloned() else {
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

/// Whether a key belongs to one of several tables.
fn is_of_several(key: &Key) -> bool {
    key.path.split_once('.').is_some_and(|(table, _)| TABLES.contains(&table))
}

/// `disk.path` of the second disk is `disk[1].path`.
fn field_of(key: &Key, index: Option<usize>) -> String {
    match (index, key.path.split_once('.')) {
        (Some(i), Some((table, name))) if is_of_several(key) => format!("{table}[{i}].{name}"),
        _ => key.path.into(),
    }
}

/// The reverse of [`field_of`].
fn without_index(path: &str) -> (String, Option<usize>) {
    let parts = || {
        let (table, rest) = path.split_once('[')?;
        let (number, name) = rest.split_once("].")?;
        Some((format!("{table}.{name}"), number.parse().ok()?))
    };
    match parts() {
        Some((bare, number)) => (bare, Some(number)),
        None => (path.into(), None),
    }
}
