// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command against the daemon over the fake core: what it prints, what it
//! returns, what it leaves.

mod bed;

use bed::Bed;
use hv_abi::domain::reason;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

fn json(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["schema"], "hv/1", "{text}");
    value
}

#[test]
fn tables() {
    let bed = Bed::new();
    let mut shown = bed.ok(&["create", "web.toml", "vcpus=2", "cpu.cap=50"]);
    shown += &bed.ok(&["create", "web.toml", "name=database", "memory=64M", "-p"]);
    bed.write("crash.toml", "name='c1'\nkernel='kernel'\nmemory='16M'\non_crash='preserve'");
    shown += &bed.ok(&["create", "crash.toml"]);
    bed.core.guest_stop(3, reason::MEMORY_FAULT, 0xfee0_0000);
    for args in [
        &["list"][..],
        &["list", "web"],
        &["sched"],
        &["sched", "web", "-w", "512"],
        &["vcpu-list"],
        &["vcpu-pin", "web", "all", "1"],
        &["vcpu-list", "web"],
        &["domid", "database"],
        &["domname", "3"],
        &["info"],
        &["info", "c1"],
        &["dmesg"],
        &["trace", "web"],
        &["debug-keys", "audit"],
        &["validate", "web.toml", "memory=48M"],
    ] {
        shown += &format!("$ hvctl {}\n{}", args.join(" "), bed.ok(args));
    }
    // Not the same in every run.
    let stable = |line: &&str| !line.starts_with("uuid") && !line.starts_with("hypercalls");
    let shown: Vec<&str> = shown.lines().filter(stable).collect();
    let dir = bed.dir.path().display().to_string();
    insta::assert_snapshot!(shown.join("\n").replace(&dir, "DIR"));
}

#[test]
fn errors() {
    let bed = Bed::new();
    bed.ok(&["create", "web.toml"]);
    bed.write("typo.toml", "name = 'x'\nkernel = 'kernel'\nmemroy = '64M'\nvcpus = 0\n");
    bed.write("elf.toml", "name = 'x'\nkernel = 'elf'\nmemory = '64M'\n");
    bed.write("elf", "\x7fELF and more");
    let all: String = [
        &["create", "web.toml"][..],
        &["create", "nothing.toml"],
        &["create", "typo.toml"],
        &["create", "elf.toml"],
        &["create", "web.toml", "name=y", "kernel=/nonexistent"],
        &["create", "web.toml", "name=y", "memory=1T"],
        &["create", "web.toml", "memory=1X"],
        &["create", "web.toml", "memory"],
        &["validate", "elf.toml"],
        &["validate", "elf.toml", "--json"],
        &["destroy", "wbe"],
        &["destroy", "control"],
        &["info", "nothing"],
        &["info", "nothing", "--json"],
        &["unpause", "web"],
        &["console", "nothing"],
        &["console", "0"],
        &["vcpu-pin", "web", "9", "0"],
        &["vcpu-pin", "web", "x", "0"],
        &["vcpu-pin", "web", "0", "40"],
        &["vcpu-pin", "web", "0", "a-b"],
        &["sched", "web", "--weight", "0"],
        &["trace", "web", "7"],
        &["shutdown", "web", "-w", "--timeout", "0"],
        &["lsit"],
    ]
    .iter()
    .map(|args| bed.fails(args) + "\n")
    .collect();
    insta::assert_snapshot!(all);
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let mut bed = Bed::new();
    bed.stop();
    let ran = bed.run(&["list"]);
    assert_eq!(ran.code, 6);
    assert!(
        ran.err.contains("hvd does not run") && ran.err.contains("hvd --detach"),
        "{}",
        ran.err
    );
    let ran = bed.run(&["list", "--json"]);
    assert_eq!((ran.code, &*ran.err), (6, ""));
    assert_eq!(json(&ran.out)["error"]["code"], "no-daemon");
    // What needs no daemon works.
    assert!(bed.ok(&["validate", "web.toml"]).contains("is fine"));
    assert!(bed.ok(&["version"]).contains("cannot be asked"));
    assert!(bed.ok(&["completions", "bash"]).contains("vcpu-pin"));
}

#[test]
fn documents() {
    let bed = Bed::new();
    let before = json(&bed.ok(&["info", "--json"]))["counters"].clone();
    let made = json(&bed.ok(&["create", "web.toml", "--json"]));
    assert_eq!(made["domain"]["name"], "web");
    let list = json(&bed.ok(&["--json", "list"]));
    assert_eq!(list["domains"][1]["state"], "blocked");
    assert_eq!(json(&bed.ok(&["domid", "web", "--json"]))["id"], 1);
    assert!(json(&bed.ok(&["dmesg", "--json"]))["text"].is_string());
    assert_eq!(json(&bed.ok(&["events", "--json"]))["events"][0]["kind"], "created");
    assert_eq!(json(&bed.ok(&["doctor", "--json"]))["ok"], true);
    assert_eq!(json(&bed.ok(&["debug-keys", "audit", "--json"]))["discrepancies"], 0);
    for key in ["domains", "queues", "ports", "grants", "memory"] {
        assert_eq!(bed.ok(&["debug-keys", key]), format!("{key} of a fake core\n"));
    }
    assert_eq!(json(&bed.ok(&["uptime", "--json"]))["domains"][0]["name"], "control");
    assert_eq!(json(&bed.ok(&["vcpu-list", "--json"]))["vcpus"][1]["domain"], 1);
    assert_eq!(json(&bed.ok(&["trace", "1", "--json"]))["total"], 0);
    assert_eq!(json(&bed.ok(&["version", "--json"]))["core"], "fake");
    assert_eq!(json(&bed.ok(&["validate", "web.toml", "--json"]))["spec"]["vcpus"], 1);
    assert_eq!(json(&bed.ok(&["destroy", "web", "--json"]))["ok"], true);
    let list = json(&bed.ok(&["list", "--json"]));
    assert_eq!(list["domains"].as_array().unwrap().len(), 1);
    assert_eq!(json(&bed.ok(&["info", "--json"]))["counters"], before);
}

#[test]
fn shutdown_and_reboot_wait() {
    let bed = Bed::new();
    bed.core.guests_obey(true);
    bed.ok(&["create", "web.toml"]);
    bed.ok(&["reboot", "-w", "web"]);
    assert!(bed.ok(&["info", "web"]).contains("restarts          1"));
    bed.ok(&["shutdown", "-w", "web"]);
    assert_eq!(bed.run(&["info", "web"]).code, 4);
    let events = bed.ok(&["events"]);
    assert!(events.contains("it was built and started again"), "{events}");
    // A guest that does not react is given up upon, and stays.
    bed.core.guests_obey(false);
    bed.ok(&["create", "web.toml"]);
    let ran = bed.run(&["shutdown", "-w", "--timeout", "1", "web"]);
    bed.core.guests_obey(true);
    bed.ok(&["create", "web.toml", "name=kept", "on_poweroff=preserve"]);
    bed.ok(&["shutdown", "-w", "kept"]);
    assert!(bed.ok(&["list", "kept"]).contains("poweroff"));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("did not shut down within 1 s; it is blocked"), "{}", ran.err);
}

#[test]
fn a_pipe_can_talk_to_a_console() {
    let bed = Bed::new();
    bed.ok(&["create", "web.toml"]);
    let mut guest = bed.guest(1);
    guest.write(b"login: ");
    bed.until("it is kept", || bed.ok(&["console", "--log", "web"]) == "login: ");
    let mut child = bed
        .command(&["console", "web"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"root\n").unwrap();
    let mut typed = Vec::new();
    bed.until("the guest has it", || {
        typed.extend(guest.read());
        typed == b"root\n"
    });
    guest.write(b"welcome\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "login: welcome\n");
    assert!(output.status.success());
}

/// A terminal: its master, and the end that the command gets.
fn terminal() -> (File, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let end = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (File::from(master), end)
}

fn expect(master: &mut File, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut buffer = [0; 256];
        let n = master.read(&mut buffer).unwrap();
        seen += &String::from_utf8_lossy(&buffer[..n]);
    }
    seen
}

#[test]
fn create_attaches_and_a_key_detaches() {
    let bed = Bed::new();
    let (mut master, end) = terminal();
    let before = rustix::termios::tcgetattr(&end).unwrap();
    let stdio = || Stdio::from(end.try_clone().unwrap());
    let mut child = bed
        .command(&["create", "web.toml", "-c"])
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    expect(&mut master, "Ctrl-] detaches]");
    let raw = |flags| rustix::termios::tcgetattr(&end).unwrap().local_modes != flags;
    bed.until("the terminal is raw", || raw(before.local_modes));
    let mut guest = bed.guest(1);
    guest.write(b"/ # ");
    expect(&mut master, "/ # ");
    // Ctrl-C is the guest's; Ctrl-] and what follows are not.
    master.write_all(b"ls\x03\x1dlost").unwrap();
    expect(&mut master, "[detached from web]");
    assert!(child.wait().unwrap().success());
    let mut typed = Vec::new();
    bed.until("the guest has it", || {
        typed.extend(guest.read());
        typed == b"ls\x03"
    });
    assert!(!raw(before.local_modes), "the terminal is as it was");
    assert!(bed.ok(&["list"]).contains("web"));
}

#[test]
fn a_console_tells_how_its_domain_ended() {
    let bed = Bed::new();
    bed.ok(&["create", "web.toml"]);
    let (mut master, end) = terminal();
    let stdio = || Stdio::from(end.try_clone().unwrap());
    let mut child = bed
        .command(&["console", "web"])
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    expect(&mut master, "Ctrl-] detaches]");
    bed.core.guest_stop(1, reason::POWEROFF, 0);
    expect(&mut master, "it turned itself off]");
    assert!(child.wait().unwrap().success());
}

#[test]
fn interrupting_a_create_leaves_nothing() {
    let bed = Bed::new();
    let before = bed.core.counters();
    File::create(bed.path("big")).unwrap().set_len(150 << 20).unwrap();
    let mut child = bed
        .command(&["create", "web.toml", "memory=200M", "initrd=big"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bed.until("it is being built", || bed.core.counters() != before);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    bed.until("it is undone", || bed.core.counters() == before);
    bed.until("the name is free", || bed.run(&["create", "web.toml"]).code == 0);
}

/// Colour only where it is wanted, and a reader may leave early.
#[test]
fn output_is_well_behaved() {
    let bed = Bed::new();
    assert!(!bed.ok(&["list"]).contains('\x1b'));
    for (no_color, colour) in [("", true), ("1", false)] {
        let (mut master, end) = terminal();
        let mut child = bed
            .command(&["list"])
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .stdout(Stdio::from(end))
            .spawn()
            .unwrap();
        let seen = expect(&mut master, "control");
        assert_eq!(seen.contains("\x1b[1m"), colour);
        assert!(child.wait().unwrap().success());
    }
    bed.core.log(&"x\n".repeat(200_000));
    let mut child = bed.command(&["dmesg"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert!(child.wait().unwrap().success());
}
