// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's own command line. One table has each option's name, the form
//! of its value and its text; the parser and the message about an unknown
//! option are made from it, and so is the page in `docs/`.

use hv_hal::assist::Assist;
use hv_hal::exit::Choice;
use log::LevelFilter;

/// One option, for the parser's messages and the manual.
pub struct OptionInfo {
    /// What stands before `=`.
    pub name: &'static str,
    /// Form of the value, empty for a switch.
    pub form: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// Every option there is.
pub const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "dom0_mem",
        form: "SIZE",
        doc: "memory of the control domain, such as 768M or 2G (default: half of the machine's, at least 256M)",
    },
    OptionInfo {
        name: "dom0_max_vcpus",
        form: "N",
        doc: "vCPUs of the control domain (default: as many as there are CPUs)",
    },
    OptionInfo {
        name: "console",
        form: "com1|com2|none[,BAUD]",
        doc: "serial line of the core's log, which the control domain does not see (default: com1,115200)",
    },
    OptionInfo {
        name: "loglevel",
        form: "error|warn|info|debug|trace",
        doc: "least important text that is logged (default: info)",
    },
    OptionInfo {
        name: "vendor",
        form: Choice::FORM,
        doc: "which virtualization to use (default: auto, whichever the CPU has)",
    },
    OptionInfo {
        name: "apic",
        form: Assist::FORM,
        doc: "what the CPU does of each vCPU's interrupt controller, where it can: keep the task priority (tpr), answer reads (registers), deliver pending interrupts (delivery), take those that other CPUs send (posting); each needs the ones before it (default: tpr,registers)",
    },
    OptionInfo {
        name: "noreboot",
        form: "",
        doc: "stop instead of restarting after a failure of the core or of the control domain",
    },
];

/// Where the log goes besides its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// First of the UART's eight ports, or `None` for no serial line.
    pub port: Option<u16>,
    /// Bits a second.
    pub baud: u32,
}

/// The options' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the control domain; `None` for the default.
    pub dom0_mem: Option<u64>,
    /// vCPUs of the control domain; `None` for one a CPU.
    pub dom0_max_vcpus: Option<u32>,
    /// The log's serial line.
    pub console: Console,
    /// The log's level.
    pub loglevel: LevelFilter,
    /// Which virtualization.
    pub vendor: Choice,
    /// What the CPU does of virtual APICs.
    pub apic: Assist,
    /// Stop after a failure.
    pub noreboot: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dom0_mem: None,
            dom0_max_vcpus: None,
            console: Console { port: Some(0x3f8), baud: 115_200 },
            loglevel: LevelFilter::Info,
            vendor: Choice::Auto,
            apic: Assist::DEFAULT,
            noreboot: false,
        }
    }
}

/// What was wrong with a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// No option has this name: a warning.
    Unknown(&'a str),
    /// The option is known, its value is not of its form: the boot stops.
    Malformed(&'a str, &'static str),
}

/// A size in bytes: digits and K, M, G or T.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift)
}

fn console(value: &str) -> Option<Console> {
    let (line, baud) = match value.split_once(',') {
        Some((line, baud)) => (line, baud.parse().ok()?),
        None => (value, 115_200),
    };
    if !(300..=115_200).contains(&baud) || 115_200 % baud != 0 {
        return None;
    }
    let port = match line {
        "com1" => Some(0x3f8),
        "com2" => Some(0x2f8),
        "none" => None,
        _ => return None,
    };
    Some(Console { port, baud })
}

impl Options {
    /// Parses a command line; `problem` hears of each word that is wrong.
    pub fn parse<'a>(line: &'a str, problem: &mut dyn FnMut(Problem<'a>)) -> Self {
        let mut options = Self::default();
        for word in line.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let Some(info) = OPTIONS.iter().find(|o| o.name == name) else {
                problem(Problem::Unknown(word));
                continue;
            };
            if options.set(name, value).is_none() {
                problem(Problem::Malformed(word, info.form));
            }
        }
        options
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "dom0_mem" => self.dom0_mem = Some(size(value).filter(|s| *s > 0)?),
            "dom0_max_vcpus" => {
                self.dom0_max_vcpus = Some(value.parse().ok().filter(|n| *n > 0)?);
            }
            "console" => self.console = console(value)?,
            "loglevel" => self.loglevel = value.parse().ok()?,
            "vendor" => self.vendor = Choice::parse(value)?,
            "apic" => self.apic = Assist::parse(value)?,
            "noreboot" if value.is_empty() => self.noreboot = true,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn parse(line: &str) -> (Options, Vec<Problem<'_>>) {
        let mut problems = Vec::new();
        let options = Options::parse(line, &mut |p| problems.push(p));
        (options, problems)
    }

    #[test]
    fn values_are_taken() {
        let (o, p) = parse(
            "dom0_mem=768M dom0_max_vcpus=2 console=com2,9600 loglevel=debug vendor=auto \
             apic=none noreboot",
        );
        assert!(p.is_empty(), "{p:?}");
        assert_eq!(o.dom0_mem, Some(768 << 20));
        assert_eq!(o.dom0_max_vcpus, Some(2));
        assert_eq!(o.console.port, Some(0x2f8));
        assert_eq!(o.console.baud, 9600);
        assert_eq!(o.loglevel, LevelFilter::Debug);
        assert_eq!(o.vendor, Choice::Auto);
        assert_eq!(o.apic, Assist::NONE);
        assert!(o.noreboot);
    }

    #[test]
    fn wrong_words_are_named() {
        let (_, p) =
            parse("dom0_men=1G dom0_mem=lots console=com9 noreboot=1 dom0_mem=99999999999T");
        assert_eq!(
            p,
            [
                Problem::Unknown("dom0_men=1G"),
                Problem::Malformed("dom0_mem=lots", "SIZE"),
                Problem::Malformed("console=com9", "com1|com2|none[,BAUD]"),
                Problem::Malformed("noreboot=1", ""),
                Problem::Malformed("dom0_mem=99999999999T", "SIZE"),
            ]
        );
    }

    #[test]
    fn the_text_tells_the_defaults() {
        let text = |name: &str| OPTIONS.iter().find(|o| o.name == name).map_or("", |o| o.doc);
        let wanted = std::format!("(default: {})", Assist::DEFAULT);
        assert!(text("apic").ends_with(&wanted), "{wanted}");
    }

    #[test]
    fn every_option_of_the_table_is_known_to_the_parser() {
        for info in OPTIONS {
            let value = match info.name {
                "dom0_mem" => "1G",
                "dom0_max_vcpus" => "1",
                "console" => "none",
                "loglevel" => "warn",
                "vendor" => "auto",
                "apic" => "tpr",
                _ => "",
            };
            assert!(Options::default().set(info.name, value).is_some(), "{}", info.name);
        }
    }
}
