// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shorter manual pages: statuses, core options, keys of the domain file,
//! paths of the daemon's API.

use std::fmt::Write;

use hv_abi::Status;
use hv_kernel::options::OPTIONS;
use hv_toolstack::file::{KEYS, Kind};
use hv_toolstack::routes::ROUTES;

use super::header::screaming;
use super::page_head;

/// Writing to a `String` can't fail; this keeps the pages readable.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {{ let _ = writeln!($out, $($text)*); }};
}

/// `reference/status.md`.
pub fn statuses() -> String {
    let mut out = page_head("Statuses", "ring-protocol/abi/src/status.rs");
    out.push_str(
        "What a hypercall answers in `rax`. There are few, so that a caller can handle each;\n\
         which argument was at fault follows from the text of the [call](hypercalls.md). In C\n\
         the names start with `HVX_STATUS_`.\n\n\
         | Code | Rust | C | Meaning |\n|---|---|---|---|\n",
    );
    for status in Status::ALL {
        let name = format!("{status:?}");
        let (code, c) = (status as u32, screaming(&name));
        line!(out, "| {code} | `{name}` | `{c}` | {} |", status.text());
    }
    out
}

/// `reference/core-options.md`.
pub fn core_options() -> String {
    let mut out = page_head("Options of the core", "hv-core/kernel/src/options.rs");
    out.push_str(
        "Words on the core's command line, in any order, as in the `multiboot2` line of a\n\
         [GRUB entry](../how-to/install.md) or `cargo xtask run --core-args`. A word that is no\n\
         option is ignored with a warning that lists the known ones. An option whose value has\n\
         not the form given here stops the boot with a message that names it. Where an option\n\
         is given twice, the last one counts.\n",
    );
    for option in OPTIONS {
        let form = if option.form.is_empty() { "" } else { "=" };
        line!(out, "\n## {}\n", option.name);
        line!(out, "`{}{form}{}`: {}.", option.name, option.form, option.doc);
    }
    out
}

/// `reference/domain-file-keys.md`.
pub fn domain_file() -> String {
    let mut out = page_head("Keys of the domain file", "dom0-tools/toolstack/src/file/keys.rs");
    out.push_str(
        "See [the domain file](domain-file.md) for its form. A key with a dot belongs to the\n\
         table before the dot: `cpu.weight` is `weight` below `[cpu]`. Any other key is an\n\
         error, with the nearest known one named.\n\n\
         | Key | Value | Required | Meaning | Example |\n|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let kind = match key.kind {
            Kind::Cpus => "CPUs such as \"0-3,6\", or a list of numbers",
            kind => kind.text(),
        };
        let required = if key.required { "yes" } else { "no" };
        line!(out, "| `{}` | {kind} | {required} | {} | `{}` |", key.path, key.doc, key.example);
    }
    out
}

/// `reference/api.md`.
pub fn api() -> String {
    let mut out = page_head("The daemon's API", "dom0-tools/toolstack/src/routes.rs");
    out.push_str(
        "HTTP with JSON bodies over the Unix socket `/run/hv/hvd.sock` (root only). `hvctl` uses\n\
         nothing else. `{domain}` is a domain's name or number. Every answer is an object with\n\
         `\"schema\": \"hv/1\"`: members are added, never removed, renamed or given another\n\
         meaning. Sizes are in bytes, times in nanoseconds (`_ns`) or in seconds since 1970\n\
         (`_unix`). `GET /v1/openapi.json` is this page as an OpenAPI 3.0 document.\n\n\
         | Method | Path | Query | Body | Answer | What |\n|---|---|---|---|---|---|\n",
    );
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    for r in ROUTES {
        let query: Vec<_> = r.query.iter().map(|q| code(q)).collect();
        line!(
            out,
            "| {} | `{}` | {} | {} | {} | {} |",
            r.method,
            r.path,
            query.join(", "),
            code(r.body),
            code(r.answer),
            r.doc
        );
    }
    out
}
