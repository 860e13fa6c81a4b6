// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces of the control domain, as the daemon makes them: taps by ioctl,
//! the rest by the programs `ip`, `bridge` and `nft`, which every Debian has.
//! Tests put a list of what was asked for in their place.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of the header that a tap's packets have.
const HEADER: i32 = 12;

/// What the daemon does to interfaces.
pub trait Links: Send + Sync {
    /// Whether there is an interface, and whether it is a bridge.
    fn look(&self, name: &str) -> Option<bool>;
    /// Names of all bridges.
    fn bridges(&self) -> Vec<String>;
    /// Makes a tap that stays.
    fn make_tap(&self, name: &str) -> Result<(), String>;
    /// Removes a tap that was made to stay; one that is not there is fine.
    fn remove_tap(&self, name: &str);
    /// Runs a program with input; an error is what it said.
    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<(), String>;
    /// Has the kernel forward packets.
    fn forward(&self) -> Result<(), String>;
}

/// The machine's own.
pub struct Machine;

const CLASS: &str = "/sys/class/net";

impl Links for Machine {
    fn look(&self, name: &str) -> Option<bool> {
        let path = Path::new(CLASS).join(name);
        path.exists().then(|| path.join("bridge").exists())
    }

    fn bridges(&self) -> Vec<String> {
        let all = std::fs::read_dir(CLASS).into_iter().flatten().flatten();
        let names = all.filter(|entry| entry.path().join("bridge").exists());
        let mut names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn make_tap(&self, name: &str) -> Result<(), String> {
        let tap = hv_client::tap::Tap::open(name, HEADER).map_err(|e| e.to_string())?;
        tap.keep().map_err(|e| e.to_string())
    }

    fn remove_tap(&self, name: &str) {
        if self.look(name).is_none() {
            return;
        }
        let gone = hv_client::tap::Tap::open(name, HEADER).and_then(|tap| tap.forget());
        if let Err(e) = gone {
            tracing::warn!("the tap `{name}` stays: {e}");
        }
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
        let run = || -> io::Result<std::process::Output> {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        };
        match run() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let line = said.lines().next().unwrap_or("no reason given");
                Err(format!("`{program} {}` failed: {line}", arguments.join(" ")))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(format!(
                "there is no program `{program}`; Debian has it in {}",
                package(program)
            )),
            Err(e) => Err(format!("cannot run `{program}`: {e}")),
        }
    }

    fn forward(&self) -> Result<(), String> {
        let path = PathBuf::from("/proc/sys/net/ipv4/ip_forward");
        std::fs::write(&path, "1\n").map_err(|e| format!("cannot write {}: {e}", path.display()))
    }
}

/// The Debian package of a program.
fn package(program: &str) -> &'static str {
    match program {
        "nft" => "nftables",
        _ => "iproute2",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Notes what is asked for.
    #[derive(Default)]
    pub struct Notes {
        /// Bridges there are.
        pub bridges: Vec<String>,
        /// What was asked for.
        pub done: Mutex<Vec<String>>,
    }

    impl Notes {
        fn note(&self, text: String) {
            self.done.lock().unwrap().push(text);
        }
    }

    impl Links for Notes {
        fn look(&self, name: &str) -> Option<bool> {
            match name {
                "eth0" => Some(false),
                _ => self.bridges.iter().any(|b| b == name).then_some(true),
            }
        }
        fn bridges(&self) -> Vec<String> {
            self.bridges.clone()
        }
        fn make_tap(&self, name: &str) -> Result<(), String> {
            self.note(format!("make {name}"));
            Ok(())
        }
        fn remove_tap(&self, name: &str) {
            self.note(format!("remove {name}"));
        }
        fn run(&self, program: &str, arguments: &[&str], _: &str) -> Result<(), String> {
            self.note(format!("{program} {}", arguments.join(" ")));
            match arguments.contains(&"broken") {
                true => Err("broken".into()),
                false => Ok(()),
            }
        }
        fn forward(&self) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn programs_that_fail_or_are_missing_say_so() {
        let error = Machine.run("no-such-program", &[], "").unwrap_err();
        assert!(error.contains("iproute2"), "{error}");
        assert_eq!(Machine.run("true", &[], ""), Ok(()));
        let error = Machine.run("sh", &["-c", "echo why >&2; false"], "").unwrap_err();
        assert!(error.ends_with("failed: why"), "{error}");
    }
}
