// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual page of `hvctl`, from the table its own parser is made of.

use std::fmt::Write;

use anyhow::Result;
use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};

use super::page_head;

/// hvctl's table. It is compiled here a second time, since hvctl is a program
/// and not a library.
#[allow(dead_code, reason = "hvctl reads the values, the page only needs the names")]
#[path = "../../../dom0-tools/hvctl/src/args.rs"]
mod args;

/// `reference/hvctl.md`.
pub fn page() -> Result<String> {
    let mut root = args::Args::command().bin_name("hvctl");
    root.build();
    let mut out = page_head("hvctl", "dom0-tools/hvctl/src/args.rs");
    writeln!(out, "{}. It speaks the [daemon's API](api.md).\n", text(root.get_about()))?;
    writeln!(out, "A domain is named by its name or its number.\n\n## Options of every command\n")?;
    for arg in root.get_arguments().filter(|a| a.is_global_set()) {
        writeln!(out, "- {}", option(arg))?;
    }
    for command in root.get_subcommands().filter(|c| c.get_name() != "help") {
        entry(&mut out, command)?;
    }
    writeln!(out, "\n## More\n\n```text\n{}\n```", text(root.get_after_help()).trim_end())?;
    Ok(out)
}

fn entry(out: &mut String, command: &Command) -> Result<()> {
    writeln!(out, "\n## {}\n", command.get_name())?;
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    writeln!(out, "```text\n{usage}\n```\n")?;
    writeln!(out, "{}", text(command.get_long_about().or(command.get_about())))?;
    let aliases: Vec<_> = command.get_visible_aliases().map(|a| format!("`{a}`")).collect();
    if !aliases.is_empty() {
        writeln!(out, "\nAlso: {}", aliases.join(", "))?;
    }
    let own = command.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help");
    let lines: Vec<_> = own.map(option).collect();
    if !lines.is_empty() {
        writeln!(out, "\n- {}", lines.join("\n- "))?;
    }
    Ok(())
}

/// One argument with its help, default and values.
fn option(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.first().map(|n| n.to_string()).unwrap_or_default();
    let takes = arg.get_action().takes_values();
    let with = |flag: String| if takes { format!("{flag} {value}") } else { flag };
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => with(format!("-{short}, --{long}")),
        (None, Some(long)) => with(format!("--{long}")),
        (Some(short), None) => with(format!("-{short}")),
        (None, None) => value,
    };
    let mut line = format!("`{name}`: {}", text(arg.get_help()));
    let default: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if takes && !default.is_empty() {
        line.push_str(&format!(" (default {})", default.join(" ")));
    }
    let values = arg.get_possible_values();
    let values: Vec<_> = values.iter().map(|v| v.get_name()).collect();
    if takes && !values.is_empty() {
        line.push_str(&format!(" (one of {})", values.join(", ")));
    }
    line
}

fn text(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}
