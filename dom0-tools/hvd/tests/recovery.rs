// SPDX-License-Identifier: MIT OR Apache-2.0
//! A daemon that was killed, and its successor, over the fake core.

mod bed;

use bed::Bed;
use hv_abi::domain::{DomainConfig, reason};
use hv_client::Calls;
use serde_json::json;

#[test]
fn a_killed_daemon_adopts_what_runs() {
    let mut bed = Bed::new();
    let id = bed.create_id("web");
    bed.create("gone").unwrap();
    let counters = bed.core.counters();
    bed.kill();
    // Nothing of a dead daemon stays joined or mapped.
    assert_eq!(bed.core.counters().foreign_pages, 0);
    assert_eq!(bed.core.counters().domains, counters.domains);
    while !bed.core.domain_destroy_step(2).unwrap() {}
    bed.start();
    let domain = bed.domain("web");
    assert_eq!((&domain["id"], &domain["managed"]), (&json!(id), &json!(true)));
    assert_eq!(bed.ask("GET", "/v1/domains/gone", None).0, 404);
    assert_eq!(bed.records(), 1);
    let mut guest = bed.guest(id);
    guest.write(b"still here");
    bed.until("its console works", || bed.console("web").contains("still here"));
    bed.core.guest_stop(id, reason::REBOOT, 0);
    bed.until("its policy works", || bed.get("/v1/domains").to_string().contains("\"restarts\":1"));
}

#[test]
fn a_domain_that_stopped_without_a_daemon_is_acted_upon() {
    let mut bed = Bed::new();
    let before = bed.core.counters();
    let id = bed.create_id("web");
    bed.kill();
    bed.core.guest_stop(id, reason::POWEROFF, 0);
    bed.start();
    bed.until("it is gone", || bed.core.counters() == before);
}

#[test]
fn what_was_half_done_is_cleared_or_finished() {
    let mut bed = Bed::new();
    bed.create("dying").unwrap();
    bed.create("again").unwrap();
    bed.kill();
    // Killed while building, while destroying, and while restarting.
    let mut config = DomainConfig {
        domain: 0,
        vcpus: 1,
        max_pages: 16,
        start_info: 0,
        max_ports: 0,
        weight: 0,
        cap: 0,
        flags: 0,
        uuid: [9; 16],
        name: [0; 64],
    };
    config.name[..4].copy_from_slice(b"half");
    bed.core.domain_create(&config).unwrap();
    assert!(!bed.core.domain_destroy_step(1).unwrap());
    bed.edit_record("again", |record| record["id"] = json!(null));
    while !bed.core.domain_destroy_step(2).unwrap() {}
    bed.start();
    let names: Vec<String> = bed.names();
    assert_eq!(names, ["control", "again"]);
    assert_eq!(bed.records(), 1);
    assert_eq!(bed.get("/v1/doctor")["ok"], true);
}

#[test]
fn a_broken_record_is_set_aside() {
    let mut bed = Bed::new();
    bed.kill();
    let path = bed.run_dir().join("domains/x.json");
    std::fs::write(&path, "{ not json").unwrap();
    bed.start();
    assert!(!path.exists() && path.with_extension("broken").exists());
}

#[test]
fn one_daemon_at_a_time() {
    let bed = Bed::new();
    let e = bed.second_daemon();
    assert!(e.contains("another hvd"), "{e}");
}

/// SIGKILL at every point: from the n-th operation on the dead daemon reaches
/// neither core nor files. Its successor must find the domain running, or
/// nothing.
#[test]
fn killed_at_any_point_of_a_create_nothing_is_left() {
    let mut bed = Bed::new();
    let before = bed.core.counters();
    for n in 0.. {
        bed.dies_at(n);
        let made = bed.create("web");
        bed.succeed_the_dead();
        let there = bed.names().contains(&"web".into());
        assert!(there || made.is_err(), "what was reported as made is gone: {n}");
        if there {
            assert_eq!(bed.domain("web")["managed"], true, "killed at operation {n}");
            assert_eq!(bed.domain("web")["state"], "blocked", "killed at operation {n}");
            assert_eq!(bed.delete("web").0, 200);
        }
        assert_eq!(bed.core.counters(), before, "killed at operation {n}");
        assert_eq!(bed.records(), 0, "killed at operation {n}");
        if made.is_ok() {
            assert!(n > 25, "{n}");
            break;
        }
    }
}

/// The same while a guest reboots: the successor ends the restart, or does all
/// of it.
#[test]
fn killed_at_any_point_of_a_restart_it_is_finished() {
    let mut bed = Bed::new();
    let before = bed.core.counters();
    let mut in_time = 0;
    for n in 0.. {
        let id = bed.create_id("web");
        let running = bed.core.counters();
        let earlier = bed.journal().matches("built and started again").count();
        bed.dies_at(n);
        bed.core.guest_stop(id, reason::REBOOT, 0);
        let core = bed.core.clone();
        let again = || bed.journal().matches("built and started again").count() > earlier;
        bed.until("it is dead or done", || core.is_dead() || again());
        let done = !core.is_dead();
        bed.succeed_the_dead();
        bed.until("it lives again", || {
            let list = bed.get("/v1/domains").to_string();
            list.contains("\"restarts\":1") && list.contains("\"state\":\"blocked\"")
        });
        assert_eq!(bed.core.counters(), running, "killed at operation {n}");
        assert_eq!(bed.delete("web").0, 200);
        assert_eq!(bed.core.counters(), before, "killed at operation {n}");
        in_time += u32::from(done);
        if in_time > 1 {
            assert!(n > 20, "{n}");
            break;
        }
    }
}

/// And while a domain is destroyed: gone in the end.
#[test]
fn killed_at_any_point_of_a_destroy_it_is_gone_or_whole() {
    let mut bed = Bed::new();
    let before = bed.core.counters();
    for n in 0.. {
        bed.create("web").unwrap();
        bed.dies_at(n);
        let (status, _) = bed.delete("web");
        bed.succeed_the_dead();
        if bed.names().len() > 1 {
            assert_ne!(status, 200, "killed at operation {n}");
            assert_eq!(bed.domain("web")["state"], "blocked", "killed at operation {n}");
            assert_eq!(bed.delete("web").0, 200);
        }
        assert_eq!(bed.core.counters(), before, "killed at operation {n}");
        assert_eq!(bed.records(), 0, "killed at operation {n}");
        if status == 200 {
            assert!(n > 3, "{n}");
            break;
        }
    }
}
