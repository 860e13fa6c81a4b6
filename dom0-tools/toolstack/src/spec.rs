// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain as its owner wants it: what the domain file says, with every
//! default filled in. This is what the daemon is sent and what it stores.

use crate::disk::{DISKS_MAX, DiskSpec};
use crate::network::{NETWORKS_MAX, NetworkSpec};
use crate::units::{CpuSet, format_size};
use hv_abi::MAX_VCPUS;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Weight of a domain that names none.
pub const DEFAULT_WEIGHT: u32 = 256;
/// The longest name in bytes: the core's field less a zero.
pub const NAME_MAX: usize = 63;
/// The longest command line, as the kernel's default `COMMAND_LINE_SIZE` has it.
pub const CMDLINE_MAX: usize = 2047;
/// Less memory than this fits no kernel.
pub const MEMORY_MIN: u64 = 8 << 20;
/// More than this is a typing error.
pub const MEMORY_MAX: u64 = 16 << 40;

/// What the tools do when a domain stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Give back everything.
    Destroy,
    /// Build it again.
    Restart,
    /// Leave it stopped, to be looked at.
    Preserve,
}

impl Action {
    /// Each with its word.
    pub const ALL: [(&'static str, Action); 3] = [
        ("destroy", Action::Destroy),
        ("restart", Action::Restart),
        ("preserve", Action::Preserve),
    ];
}

/// A domain's share of the CPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CpuSpec {
    /// 1 to 65535; twice the weight gets twice the time.
    pub weight: u32,
    /// Upper limit in percent of one CPU, 0 for none.
    pub cap: u32,
    /// CPUs the vCPUs may run on.
    pub affinity: Option<CpuSet>,
}

impl Default for CpuSpec {
    fn default() -> Self {
        Self { weight: DEFAULT_WEIGHT, cap: 0, affinity: None }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainSpec {
    /// Unique name.
    pub name: String,
    /// A bzImage.
    pub kernel: PathBuf,
    /// An initial RAM disk.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    #[serde(default)]
    pub cmdline: String,
    /// Bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Share of the CPUs.
    #[serde(default)]
    pub cpu: CpuSpec,
    /// Disks, in the order in which the guest sees them.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// Network cards, in the order in which the guest sees them.
    #[serde(default)]
    pub networks: Vec<NetworkSpec>,
    /// When it turns itself off.
    pub on_poweroff: Action,
    /// When it asks to be started again.
    pub on_reboot: Action,
    /// When it crashes or the core stops it.
    pub on_crash: Action,
}

/// A value that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The domain file's key: `cpu.weight`, `disk[0].path`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl DomainSpec {
    /// Everything that is wrong without looking at files or at the host.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut no = |field: &str, message: String| {
            faults.push(Fault { field: field.into(), message });
        };
        if let Err(message) = check_name(&self.name) {
            no("name", message);
        }
        if self.kernel.as_os_str().is_empty() {
            no("kernel", "the path of the kernel is empty".into());
        }
        if self.cmdline.len() > CMDLINE_MAX {
            let len = self.cmdline.len();
            no("cmdline", format!("{len} bytes; the kernel takes {CMDLINE_MAX}"));
        }
        if self.cmdline.chars().any(char::is_control) {
            no("cmdline", "contains a control character".into());
        }
        if self.memory < MEMORY_MIN || self.memory > MEMORY_MAX {
            let (min, max) = (format_size(MEMORY_MIN), format_size(MEMORY_MAX));
            no("memory", format!("out of range; {min} to {max} are possible"));
        } else if !self.memory.is_multiple_of(4096) {
            no("memory", "must be a whole number of 4K pages".into());
        }
        if self.vcpus == 0 || self.vcpus as usize > MAX_VCPUS {
            no("vcpus", format!("out of range; 1 to {MAX_VCPUS} are possible"));
        }
        let CpuSpec { weight, cap, affinity } = self.cpu;
        if weight == 0 || weight > 65_535 {
            no("cpu.weight", "out of range; 1 to 65535 are possible".into());
        }
        if cap > 100 * MAX_VCPUS as u32 {
            no("cpu.cap", "out of range; percent of one CPU, 0 for no limit".into());
        }
        if affinity.is_some_and(|set| set.0 == 0) {
            no("cpu.affinity", "names no CPU".into());
        }
        if self.disks.len() > DISKS_MAX {
            no("disk", format!("{} disks; {DISKS_MAX} are possible", self.disks.len()));
        }
        for (i, disk) in self.disks.iter().enumerate() {
            for (key, message) in disk.faults() {
                no(&format!("disk[{i}].{key}"), message);
            }
            let same = |other: &DiskSpec| !disk.name.is_empty() && other.name == disk.name;
            if self.disks.iter().take(i).any(same) {
                let message = format!("another disk is called `{}`", disk.name);
                no(&format!("disk[{i}].name"), message);
            }
        }
        if self.networks.len() > NETWORKS_MAX {
            let many = self.networks.len();
            no("network", format!("{many} cards; {NETWORKS_MAX} are possible"));
        }
        for (i, network) in self.networks.iter().enumerate() {
            for (key, message) in network.faults() {
                no(&format!("network[{i}].{key}"), message);
            }
            for other in self.networks.iter().take(i) {
                if !network.name.is_empty() && other.name == network.name {
                    let message = format!("another card is called `{}`", network.name);
                    no(&format!("network[{i}].name"), message);
                }
                if network.mac.is_some() && other.mac == network.mac {
                    no(&format!("network[{i}].mac"), "another card has this address".into());
                }
            }
        }
        faults
    }

    /// What to do when it stopped for one of `hv_abi::domain::reason`.
    pub fn action(&self, reason: u32) -> Action {
        match reason {
            hv_abi::domain::reason::POWEROFF => self.on_poweroff,
            hv_abi::domain::reason::REBOOT => self.on_reboot,
            _ => self.on_crash,
        }
    }

    /// The command line the kernel gets: with the console of every guest unless
    /// another is named.
    pub fn kernel_cmdline(&self) -> String {
        let words = self.cmdline.trim();
        match words {
            "" => "console=hvc0".into(),
            _ if words.split_whitespace().any(|w| w.starts_with("console=")) => words.into(),
            _ => format!("console=hvc0 {words}"),
        }
    }
}

/// A name is a word that is no number, so that numbers can stand for ids.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    if name.len() > NAME_MAX {
        return Err(format!("longer than {NAME_MAX} characters"));
    }
    if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        return Err(format!(
            "`{}` is not allowed; letters, digits, `.`, `_` and `-` are",
            c.escape_default()
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("must start with a letter or a digit".into());
    }
    if name.chars().all(|c| c.is_ascii_digit()) {
        return Err("a name of digits only would look like a domain's number".into());
    }
    if name == "control" {
        return Err("`control` is the control domain".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web-1", "7up", "x.y_z"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "12", "-a", "a b", "a/b", "ä", "control", "a\n", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
