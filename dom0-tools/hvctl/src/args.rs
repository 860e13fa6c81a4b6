// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of commands: help, completions and parsing come from here.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hv_toolstack::units::CpuSet;
use std::path::PathBuf;

const AFTER: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  the domain file, or a value in it or on the command line, is wrong
  4  there is no such domain or vCPU
  5  not possible now: the name is taken, it is paused, busy, stopped …
  6  hvd, or the hypervisor itself, cannot be reached
  130  interrupted

With --json, standard output is exactly one document, {\"schema\": \"hv/1\", …};
for a failure it has a member \"error\". HV_SOCKET names another socket.";

/// Create, list and control the domains of this host
#[derive(Parser)]
#[command(name = "hvctl", version, about, after_help = AFTER, max_term_width = 100)]
#[command(propagate_version = false, arg_required_else_help = true)]
pub struct Args {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Socket of the daemon
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// A domain file with overrides.
#[derive(ClapArgs)]
pub struct FileArgs {
    /// The domain file (TOML)
    pub file: PathBuf,
    /// Override a key of the file: memory=256M, cpu.weight=512, name=web2
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// Domains by name or number.
#[derive(ClapArgs)]
pub struct DomainArgs {
    /// Names or numbers of domains
    #[arg(required = true, value_name = "DOMAIN")]
    pub domains: Vec<String>,
}

/// Waiting for a domain to end.
#[derive(ClapArgs)]
pub struct WaitArgs {
    #[command(flatten)]
    pub which: DomainArgs,
    /// Wait until it is done, and say what it waits for
    #[arg(short, long)]
    pub wait: bool,
    /// Wait at most this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
}

#[derive(Subcommand)]
pub enum Command {
    /// Build a domain from a file and start it; returns when it runs
    Create {
        #[command(flatten)]
        file: FileArgs,
        /// Attach its console afterwards (Ctrl-] detaches)
        #[arg(short, long, conflicts_with = "json")]
        console: bool,
        /// Leave it paused
        #[arg(short, long)]
        paused: bool,
    },
    /// List the domains
    #[command(visible_alias = "ls")]
    List {
        /// Only these (all if none is named)
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// End domains at once, as if their power was cut
    Destroy(DomainArgs),
    /// Ask domains to shut down
    Shutdown {
        #[command(flatten)]
        wait: WaitArgs,
        /// Reboot instead
        #[arg(short, long)]
        reboot: bool,
    },
    /// Ask domains to reboot
    Reboot(WaitArgs),
    /// Hold domains; their memory stays
    Pause(DomainArgs),
    /// Let paused domains run again
    Unpause(DomainArgs),
    /// Attach a domain's console; Ctrl-] detaches
    ///
    /// Begins with its latest output. Without a terminal it ends when the input
    /// ends.
    Console {
        /// Name or number
        domain: String,
        /// Only print the output that is kept, and end
        #[arg(short, long)]
        log: bool,
    },
    /// Show the host, or a domain, in detail
    Info {
        /// Name or number; the host if left out
        domain: Option<String>,
    },
    /// Print the core's log
    Dmesg {
        /// Go on with new text as it comes
        #[arg(short, long, conflicts_with = "json")]
        follow: bool,
    },
    /// List vCPUs
    VcpuList {
        /// Name or number; all domains if left out
        domain: Option<String>,
    },
    /// Choose the CPUs a vCPU may run on
    VcpuPin {
        /// Name or number
        domain: String,
        /// Number of the vCPU, or `all`
        vcpu: String,
        /// CPUs such as 0-3,6, or `all`
        #[arg(value_parser = cpus)]
        cpus: CpuSet,
    },
    /// Show or change shares of CPU time
    Sched {
        /// Name or number; all domains are shown if left out
        domain: Option<String>,
        /// Share on a busy host, 1 to 65535; 256 is usual
        #[arg(short, long, requires = "domain")]
        weight: Option<u32>,
        /// Upper limit in percent of one CPU, 0 for none
        #[arg(short, long, requires = "domain")]
        cap: Option<u32>,
    },
    /// Give a running domain one more disk
    ///
    /// Keys are those of a [[disk]] in the domain file: path=/srv/data.img
    /// name=data read_only=true write_bytes=50M …
    BlockAttach {
        /// Name or number
        domain: String,
        /// The disk; path=… is required
        #[arg(required = true, value_name = "KEY=VALUE")]
        keys: Vec<String>,
    },
    /// Take a disk from a running domain
    BlockDetach {
        /// Name or number
        domain: String,
        /// Name of the disk
        disk: String,
        /// Even if the guest does not let go of it; may cost the guest data
        #[arg(short, long)]
        force: bool,
    },
    /// List a domain's disks, what they do and why they do not
    BlockList {
        /// Name or number
        domain: String,
    },
    /// Tell a domain that a disk has grown, after making its image larger
    BlockResize {
        /// Name or number
        domain: String,
        /// Name of the disk
        disk: String,
        /// New size of the image, such as 20G; left out: it was changed already
        size: Option<String>,
    },
    /// Change the limits of a disk: read_bytes=50M write_ops=1000, 0 for none
    BlockLimit {
        /// Name or number
        domain: String,
        /// Name of the disk
        disk: String,
        /// Limits; a direction of which one is named gets all of them anew
        #[arg(required = true, value_name = "KEY=VALUE")]
        keys: Vec<String>,
    },
    /// Give a running domain one more network card
    ///
    /// Keys are those of a [[network]] in the domain file: bridge=br0 or nat=true,
    /// name=lan mac=… vlan=10 send_rate=10M …
    NetworkAttach {
        /// Name or number
        domain: String,
        /// The card; bridge=… or nat=true is required
        #[arg(required = true, value_name = "KEY=VALUE")]
        keys: Vec<String>,
    },
    /// Take a network card from a running domain
    NetworkDetach {
        /// Name or number
        domain: String,
        /// Name of the card
        card: String,
        /// Even if the guest does not let go of it
        #[arg(short, long)]
        force: bool,
    },
    /// List a domain's network cards, their traffic and what was refused
    NetworkList {
        /// Name or number
        domain: String,
    },
    /// Change a network card: link=false send_rate=10M receive_rate=0
    NetworkSet {
        /// Name or number
        domain: String,
        /// Name of the card
        card: String,
        /// link, send_rate or receive_rate; a rate of 0 is no limit
        #[arg(required = true, value_name = "KEY=VALUE")]
        keys: Vec<String>,
    },
    /// Print a domain's number
    Domid {
        /// Name
        name: String,
    },
    /// Print a domain's name
    Domname {
        /// Number
        id: u16,
    },
    /// Show for how long the host and the domains run
    Uptime {
        /// Only these (all if none is named)
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// Check a domain file, its kernel and initrd, without the hypervisor
    Validate(FileArgs),
    /// Show the latest exits of a vCPU to the core
    Trace {
        /// Name or number
        domain: String,
        /// Number of the vCPU
        #[arg(default_value_t = 0)]
        vcpu: u32,
    },
    /// Have the core look at itself
    DebugKeys {
        /// What to look at
        key: DebugKey,
    },
    /// Look for what is wrong: versions, leaks, leftovers
    Doctor,
    /// Print what happened to the domains
    Events {
        /// Go on with new events as they come
        #[arg(short, long, conflicts_with = "json")]
        follow: bool,
    },
    /// Print a script that completes this command's words
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the versions of tools and core
    Version,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DebugKey {
    /// Check every frame's state, owner and references
    Audit,
    /// Show every domain with its vCPUs
    Domains,
    /// Show every CPU with its queue
    Queues,
    /// Show every port in use
    Ports,
    /// Show every grant in use and every mapping
    Grants,
    /// Show the pool, and what each domain has of it
    Memory,
}

impl DebugKey {
    /// Its name in the daemon's API.
    pub fn name(self) -> &'static str {
        match self {
            DebugKey::Audit => "audit",
            DebugKey::Domains => "domains",
            DebugKey::Queues => "queues",
            DebugKey::Ports => "ports",
            DebugKey::Grants => "grants",
            DebugKey::Memory => "memory",
        }
    }
}

fn cpus(text: &str) -> Result<CpuSet, String> {
    CpuSet::try_from(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_is_sound_and_every_command_has_help() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            for arg in sub.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", sub.get_name(), arg.get_id());
            }
        }
    }
}
