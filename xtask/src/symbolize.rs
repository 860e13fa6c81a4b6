// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask symbolize`: addresses of the core → functions and lines.
//!
//! Also used on a panic's backtrace, so that a report reads without a
//! debugger.

use std::fs;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use anyhow::{Result, anyhow};
use clap::Args;

use crate::place;
use crate::toolchain::TARGET;

/// The core is linked into the top 2 GiB.
const CORE: u64 = 0xffff_ffff_8000_0000;

/// Options of `cargo xtask symbolize`.
#[derive(Args, Debug, Clone)]
pub struct SymbolizeArgs {
    /// Addresses in hex, with or without 0x
    #[arg(required_unless_present = "log")]
    pub addresses: Vec<String>,
    /// Look up every address of the core in this log
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The core's ELF [default: the last release build]
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
}

/// Runs the task.
pub fn run(args: &SymbolizeArgs) -> Result<()> {
    let default = place::target().join(TARGET).join("release/hv-core");
    let elf = args.elf.as_ref().unwrap_or(&default);
    let mut addresses = Vec::new();
    for word in &args.addresses {
        let digits = word.trim_start_matches("0x");
        let parsed = u64::from_str_radix(digits, 16);
        addresses.push(parsed.map_err(|_| anyhow!("`{word}` is no hexadecimal address"))?);
    }
    if let Some(log) = &args.log {
        addresses.extend(in_text(&String::from_utf8_lossy(&fs::read(log)?)));
    }
    print!("{}", lookup(elf, &addresses)?);
    Ok(())
}

/// One line per address and inlined call.
pub fn lookup(elf: &Path, addresses: &[u64]) -> Result<String> {
    let loader = Loader::new(elf).map_err(|e| anyhow!("cannot read {}: {e}", elf.display()))?;
    let mut out = String::new();
    for &address in addresses {
        out.push_str(&format!("{address:#018x}"));
        let mut named = false;
        if let Ok(mut frames) = loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|f| f.demangle().ok());
                let name = name.as_deref().unwrap_or("?").to_owned();
                let at = frame.location.map_or(String::new(), |l| {
                    format!(" at {}:{}", l.file.unwrap_or("?"), l.line.unwrap_or(0))
                });
                out.push_str(&format!(
                    "{} {name}{at}\n",
                    if named { "    inlined in" } else { "" }
                ));
                named = true;
            }
        }
        if !named {
            out.push_str(&format!(" {}\n", loader.find_symbol(address).unwrap_or("?")));
        }
    }
    Ok(out)
}

/// Every number in `text` that can be an address of the core.
pub fn in_text(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let numbers = words.filter_map(|w| {
        let digits = w.strip_prefix("0x").unwrap_or(w);
        (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
    });
    numbers.filter(|n| *n >= CORE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_a_report() {
        let text = "rip ffffffff80201234  rsp 0000000000001000\n  0xffffffff80200010\nPANIC: x";
        assert_eq!(in_text(text), [0xffff_ffff_8020_1234, 0xffff_ffff_8020_0010]);
    }
}
