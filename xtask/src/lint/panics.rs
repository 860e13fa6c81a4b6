// SPDX-License-Identifier: MIT OR Apache-2.0
//! No panic that a guest can reach, shown on the built image: from the entry
//! points that a guest's exits and the machine's interrupts lead to, no path
//! of calls leads to the panic handler, but for the sites that
//! `hv-core/panics.toml` lists, each with the reason why it can't happen.
//!
//! A site is a call into one of `core`'s panicking functions. Its name is the
//! place in the source where it was written, wherever the compiler has put it:
//! file and function, or only the file if that is not ours. One without a
//! place (a failed allocation) has the name of the linked function.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

use super::callgraph::{Call, Function, Graph};
use crate::place;

/// Where guests come in: each CPU's loop, and every trap while the core runs.
const ENTRIES: &[&str] = &["hv_kernel::vcpu_loop::run_forever", "trap_taken"];
/// The panic handler and the report: nothing behind them matters any more.
const HANDLERS: &[&str] =
    &["rust_begin_unwind", "hv_hal::x86::fault::die", "hv_hal::x86::fault::exception"];
/// Functions whose only purpose is to panic: a call of one is a site.
const PANICKING: &[&str] = &[
    "core::panicking::",
    "core::option::",
    "core::result::",
    "core::cell::panic",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::handle_error",
    "alloc::raw_vec::capacity_overflow",
    "__rust_alloc_error_handler",
    "__rdl_alloc_error_handler",
];

/// The list of exceptions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// Sites that can't happen.
    #[serde(default)]
    site: Vec<Site>,
    /// Functions that an indirect call never leads to when a guest runs.
    #[serde(default)]
    never: Vec<Never>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Site {
    /// Where it is written: file and function, or the linked function.
    at: String,
    /// Why it can't happen, or who alone can make it happen.
    why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Never {
    /// The function, as linked.
    function: String,
    /// Why not.
    why: String,
}

/// Checks the image; complaints, and a line for the summary.
pub fn check(elf: &Path) -> Result<(Vec<String>, String)> {
    const LIST: &str = "hv-core/panics.toml";
    let text = fs::read_to_string(place::root().join(LIST)).context(LIST)?;
    let list: List = toml::from_str(&text).context(LIST)?;
    let data = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let graph = Graph::read(&data)?;
    let (sites, functions) = sites(&graph, &list.never)?;
    let mut out = Vec::new();
    for (at, examples) in &sites {
        if !list.site.iter().any(|s| s.at == *at) {
            out.push(format!("{LIST}: a guest may reach a panic: {at}\n{}", examples.join("")));
        }
    }
    for site in &list.site {
        if !sites.contains_key(&site.at) {
            out.push(format!("{LIST}: no such panic is left: {}", site.at));
        }
        if site.why.len() < 20 {
            out.push(format!("{LIST}: say why for {}", site.at));
        }
    }
    for never in &list.never {
        let known = graph.functions.values().any(|f| plain(&f.name) == never.function);
        if !known || never.why.len() < 20 {
            out.push(format!("{LIST}: no such function, or no reason: {}", never.function));
        }
    }
    let count: usize = sites.values().map(Vec::len).sum();
    let text = format!(
        "panics: {functions} functions can run for a guest; {} kinds of sites, {count} calls, \
         are listed as impossible",
        sites.len()
    );
    Ok((out, text))
}

type Sites = BTreeMap<String, Vec<String>>;

/// Panic sites by name, each call with its path; and how many functions there
/// are.
fn sites(graph: &Graph, never: &[Never]) -> Result<(Sites, usize)> {
    let entries: Vec<u64> = graph
        .functions
        .iter()
        .filter(|(_, f)| ENTRIES.contains(&plain(&f.name).as_str()))
        .map(|(at, _)| *at)
        .collect();
    if entries.len() != ENTRIES.len() {
        return Err(anyhow!("the image has not all of {ENTRIES:?}: are they inlined?"));
    }
    let handler = |f: &Function| HANDLERS.iter().any(|h| plain(&f.name).ends_with(h));
    let cut = |f: &Function| {
        handler(f) || panicking(f) || never.iter().any(|n| plain(&f.name) == n.function)
    };
    let reached = graph.reach(&entries, &cut);
    let mut sites = Sites::new();
    for at in reached.keys() {
        let Some(function) = graph.functions.get(at) else { continue };
        for call in &function.calls {
            let ends = graph.functions.get(&call.to).is_some_and(|f| panicking(f) || handler(f));
            if ends {
                let path = path(graph, &reached, *at);
                let text = format!("    {:#x} in {path}\n", call.at);
                let name = source(graph, &plain(&function.name), call);
                sites.entry(name).or_default().push(text);
            }
        }
    }
    Ok((sites, reached.len()))
}

fn panicking(function: &Function) -> bool {
    let name = plain(&function.name);
    PANICKING.iter().any(|p| name.starts_with(p) || name.ends_with(p))
        || name.ends_with("::assert_failed")
}

/// How a function is reached, from the entry on.
fn path(graph: &Graph, reached: &BTreeMap<u64, u64>, mut at: u64) -> String {
    let mut names = Vec::new();
    loop {
        names.push(graph.functions.get(&at).map_or_else(String::new, |f| plain(&f.name)));
        match reached.get(&at) {
            Some(from) if *from != at && names.len() < 12 => at = *from,
            _ => break,
        }
    }
    names.join(" <- ")
}

/// Where a panic is written: its file and, in our own files, the function. The
/// compiler gives each panicking call the address of its place in the source
/// (`core::panic::Location`: file, line, column); inlining does not change it.
fn source(graph: &Graph, function: &str, call: &Call) -> String {
    let Some((file, line)) = call.near.iter().rev().find_map(|at| location(graph, *at)) else {
        return function.to_owned();
    };
    let file = room(&file);
    match fs::read_to_string(place::root().join(&file)) {
        Ok(text) => format!("{file}: {}", function_at(&text, line)),
        Err(_) => file,
    }
}

/// The file and the line of a `Location` at this address, if it is one.
fn location(graph: &Graph, at: u64) -> Option<(String, usize)> {
    let word =
        |at: u64| -> Option<u64> { Some(u64::from_le_bytes(graph.bytes(at, 8)?.try_into().ok()?)) };
    let (name, len, place) = (word(at)?, word(at + 8)?, word(at + 16)?);
    let text = graph.bytes(name, usize::try_from(len).ok().filter(|len| *len < 300)?)?;
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
    let (line, column) = (place & 0xffff_ffff, place >> 32);
    let good = text.ends_with(".rs") && (1..100_000).contains(&line) && column < 1000;
    good.then(|| (text.to_owned(), line as usize))
}

/// The name of the function around a line.
fn function_at(text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let named = lines.iter().rev().find_map(|l| {
        let (before, after) = l.split_once("fn ")?;
        let start = before.trim().is_empty() || before.ends_with(' ') || before.ends_with('"');
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        (start && !before.trim_start().starts_with("//") && !name.is_empty()).then_some(name)
    });
    named.unwrap_or_else(|| "?".to_owned())
}

/// A path as it is on every machine: from the workspace's root, or from the
/// name of the package, without its version.
fn room(file: &str) -> String {
    if let Some((_, inside)) = file.split_once("/registry/src/") {
        let (package, rest) = inside
            .split_once('/')
            .map_or((inside, ""), |(_, rest)| rest.split_once('/').unwrap_or((rest, "")));
        let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
        return format!("{name}/{rest}");
    }
    if let Some((_, inside)) = file.split_once("/library/") {
        return format!("library/{inside}");
    }
    let root = format!("{}/", place::root().display());
    file.strip_prefix(&root).unwrap_or(file).to_owned()
}

/// A demangled name without hashes, generic arguments and closures' numbers.
fn plain(name: &str) -> String {
    let mut name = format!("{:#}", addr2line_demangle(name));
    if let Some(at) = name.rfind("::h")
        && name.len() - at == 19
        && name[at + 3..].bytes().all(|b| b.is_ascii_hexdigit())
    {
        name.truncate(at);
    }
    without_arguments(&name)
}

fn addr2line_demangle(name: &str) -> String {
    addr2line::demangle_auto(name.into(), None).into_owned()
}

/// `Once<T, R>::get` and `<Once<T>>::get` become `Once::get`; what a trait
/// method is implemented for stays: `<A as B>::f`.
fn without_arguments(name: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    let mut at_start = true;
    for c in name.chars() {
        match c {
            '<' if at_start => {}
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            '>' => {}
            _ if depth == 0 => out.push(c),
            _ => {}
        }
        at_start = matches!(c, '<' if out.is_empty()) || out.is_empty();
    }
    out.replace("::::", "::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_comparable() {
        for (from, to) in [
            ("spin::once::Once<T,R>::try_call_once_slow", "spin::once::Once::try_call_once_slow"),
            (
                "<alloc::vec::Vec<_, _>>::remove::assert_failed",
                "alloc::vec::Vec::remove::assert_failed",
            ),
            ("<hv::Vmx as hv::Vendor>::context", "hv::Vmx as hv::Vendor::context"),
            ("core::panicking::panic_fmt::h0123456789abcdef", "core::panicking::panic_fmt"),
            ("trap_taken", "trap_taken"),
        ] {
            assert_eq!(plain(from), to);
        }
        let text = "fn a() {\n    x();\n}\n/// fn c\npub(super) fn b<T>() {\n    y();\n}\n";
        assert_eq!((function_at(text, 2).as_str(), function_at(text, 6).as_str()), ("a", "b"));
        let from = "/x/registry/src/index-1f/spin-0.12.3/src/once.rs";
        assert_eq!(room(from), "spin/src/once.rs");
        assert_eq!(room("hv-core/hal/src/lib.rs"), "hv-core/hal/src/lib.rs");
    }
}
