// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes, sets of CPUs and times, as people write and read them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Parses a size with a unit: `512K`, `128M`, `2G`, `1T`, also `128MiB`.
/// The units are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("expected a size such as \"128M\" or \"2G\"".into());
    }
    let unit = unit.trim().to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").unwrap_or(&unit);
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "" => return Err(format!("a size needs a unit: \"{number}M\" or \"{number}G\"?")),
        _ => return Err(format!("unknown unit `{unit}`; known are K, M, G and T")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| "the size is too large".into())
}

/// A size in the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// A set of CPUs, written `0-3,6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuSet(pub u64);

impl CpuSet {
    /// Parses `0-3,6`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let cpu = |s: &str| match s.trim().parse::<u32>() {
                Ok(n) if n < 64 => Ok(n),
                Ok(n) => Err(format!("CPU {n} is out of range; CPUs are 0 to 63")),
                Err(_) => Err(format!(
                    "`{}` is no CPU number; expected a list such as \"0-3,6\"",
                    s.trim()
                )),
            };
            let (first, last) = (cpu(first)?, cpu(last)?);
            if first > last {
                return Err(format!("the range {first}-{last} is empty"));
            }
            bits |= u64::MAX >> (63 - (last - first)) << first;
        }
        Ok(Self(bits))
    }

    /// The CPUs, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |cpu| self.0 >> cpu & 1 == 1)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX {
            return f.write_str("all");
        }
        let mut separator = "";
        let mut cpus = self.iter().peekable();
        while let Some(first) = cpus.next() {
            let mut last = first;
            while cpus.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl TryFrom<String> for CpuSet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(u64::MAX));
        }
        Self::parse(&text)
    }
}

impl From<CpuSet> for String {
    fn from(set: CpuSet) -> String {
        set.to_string()
    }
}

/// CPU time as `12.3s`, from nanoseconds.
pub fn format_cpu_time(ns: u64) -> String {
    format!("{}.{}s", ns / 1_000_000_000, ns / 100_000_000 % 10)
}

/// A span as `2d 03:04:05`, from seconds.
pub fn format_uptime(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        _ => format!("{days}d {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("128M"), Ok(128 << 20));
        assert_eq!(parse_size(" 2 GiB "), Ok(2 << 30));
        assert_eq!(parse_size("4k"), Ok(4096));
        for (bad, says) in [
            ("", "expected a size"),
            ("M", "expected a size"),
            ("-1M", "expected a size"),
            ("128", "needs a unit"),
            ("128X", "unknown unit `X`"),
            ("1.5G", "unknown unit"),
            ("99999999999T", "too large"),
        ] {
            assert!(parse_size(bad).unwrap_err().contains(says), "{bad}");
        }
        assert_eq!(format_size(128 << 20), "128M");
        assert_eq!(format_size(1025), "1025B");
    }

    #[test]
    fn cpu_sets() {
        assert_eq!(CpuSet::parse("0-3,6").unwrap().0, 0b100_1111);
        assert_eq!(CpuSet::parse("0-63").unwrap().0, u64::MAX);
        assert_eq!(CpuSet::parse("63").unwrap().0, 1 << 63);
        assert_eq!(CpuSet(0b100_1111).to_string(), "0-3,6");
        for bad in ["", "a", "3-1", "64", "0-", "0,,1"] {
            assert!(CpuSet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(format_cpu_time(12_345_000_000), "12.3s");
        assert_eq!(format_uptime(3 * 86_400 + 3661), "3d 01:01:01");
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_back(bits in 1u64.., kib in 1u64..1 << 40) {
            prop_assert_eq!(CpuSet::try_from(CpuSet(bits).to_string()), Ok(CpuSet(bits)));
            prop_assert_eq!(parse_size(&format_size(kib << 10)), Ok(kib << 10));
        }

        #[test]
        fn nothing_panics(text in ".{0,12}") {
            let _ = parse_size(&text);
            let _ = CpuSet::parse(&text);
        }
    }
}
