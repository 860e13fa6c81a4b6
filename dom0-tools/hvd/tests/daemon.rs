// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon over the fake core, asked through its socket.

mod bed;

use bed::{Bed, MIB, spec};
use hv_abi::domain::{DomainConfig, reason};
use hv_client::{Calls, Core};
use hv_toolstack::layout;
use hv_toolstack::routes::ROUTES;
use serde_json::json;
use std::time::Duration;

#[test]
fn every_route_of_the_table_is_served() {
    let bed = Bed::new();
    for route in ROUTES {
        let path = route.path.replace("{domain}", "0").replace("{vcpu}", "0");
        let (_, body) = bed.ask(route.method, &path, None);
        assert!(!body.contains("no such path or method"), "{} {path}: {body}", route.method);
    }
    let (status, body) = bed.ask("GET", "/v1/nothing", None);
    assert_eq!((status, body.contains("hv/1")), (404, true));
}

#[test]
fn a_domain_comes_runs_and_goes() {
    let bed = Bed::new();
    let before = bed.core.counters();
    let made = bed.create("web").unwrap();
    let id = made["domain"]["id"].as_u64().unwrap() as u16;
    assert_eq!(made["schema"], "hv/1");
    assert_eq!(made["domain"]["state"], "blocked");
    assert_eq!(made["domain"]["spec"]["memory"], 32 * MIB);

    let refused = bed.create("web").unwrap_err();
    assert_eq!(refused["error"]["code"], "exists");
    assert!(refused["error"]["message"].as_str().unwrap().contains("exists already: number 1"));

    assert_eq!(bed.post("/v1/domains/web/pause").0, 200);
    assert_eq!(bed.domain("web")["state"], "paused");
    assert_eq!(bed.post("/v1/domains/web/pause").0, 409);
    assert_eq!(bed.post(&format!("/v1/domains/{id}/unpause")).0, 200);
    assert_eq!(bed.post("/v1/domains/web/unpause").0, 409);
    let (status, body) = bed.ask("PUT", "/v1/domains/web/sched", Some(json!({"weight": 512})));
    assert!(status == 200 && body.contains("\"weight\":512"), "{body}");
    assert_eq!(bed.ask("PUT", "/v1/domains/web/sched", Some(json!({"weight": 0}))).0, 400);
    let affinity = "/v1/domains/web/vcpus/0/affinity";
    assert_eq!(bed.ask("PUT", affinity, Some(json!({"cpus": "1"}))).0, 200);
    assert_eq!(bed.ask("PUT", affinity, Some(json!({"cpus": "7"}))).0, 400);
    let (_, body) = bed.ask("GET", "/v1/domains/web/vcpus", None);
    assert!(body.contains("\"affinity\":\"1\""), "{body}");

    assert_eq!(bed.delete("web").0, 200);
    assert_eq!(bed.delete("web").0, 404);
    assert_eq!(bed.core.counters(), before);
    assert_eq!(bed.records(), 0);
}

#[test]
fn the_control_domain_is_out_of_reach() {
    let bed = Bed::new();
    for (method, path) in [
        ("DELETE", "/v1/domains/control"),
        ("DELETE", "/v1/domains/0"),
        ("POST", "/v1/domains/0/pause"),
        ("POST", "/v1/domains/0/unpause"),
        ("POST", "/v1/domains/0/shutdown"),
    ] {
        let (status, body) = bed.ask(method, path, None);
        assert_eq!(status, 409, "{method} {path}: {body}");
        assert!(body.contains("control domain"), "{body}");
    }
}

#[test]
fn fifty_rounds_come_back_to_the_baseline() {
    let bed = Bed::new();
    let host = |bed: &Bed| bed.get("/v1/host")["counters"].clone();
    let before = host(&bed);
    for _ in 0..50 {
        bed.create("web").unwrap();
        assert_eq!(bed.delete("web").0, 200);
    }
    assert_eq!(host(&bed), before);
    let doctor = bed.get("/v1/doctor");
    assert_eq!(doctor["ok"], true, "{doctor}");
}

#[test]
fn every_failure_of_a_create_leaves_nothing() {
    let bed = Bed::new();
    let before = bed.core.counters();
    let mut failures = 0;
    for n in 0.. {
        bed.core.fail_at(n);
        let made = bed.create("web");
        if made.is_ok() {
            assert!(!bed.core.has_failed(), "failure {n} was ignored");
            bed.core.fail_at(1 << 60);
            assert_eq!(bed.delete("web").0, 200);
            break;
        }
        failures += 1;
        assert_eq!(bed.core.counters(), before, "after failure {n}: {made:?}");
        assert_eq!(bed.records(), 0, "after failure {n}");
    }
    // Host, create, memory in pieces, three mappings, console, vCPU, start.
    assert!(failures > 25, "{failures}");
    assert_eq!(bed.core.counters(), before);
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let bed = Bed::new();
    let (status, body) = bed.ask("POST", "/v1/domains", Some(json!({"spec": {"name": 5}})));
    assert!(status == 400 && body.contains("the request's body"), "{body}");
    let mut bad = spec(&bed, "web");
    bad["vcpus"] = json!(0);
    let (status, body) = bed.ask("POST", "/v1/domains", Some(json!({ "spec": bad })));
    assert!(status == 400 && body.contains("\"field\":\"vcpus\""), "{body}");
    bed.create("web").unwrap();
    let (status, body) = bed.ask("GET", "/v1/domains/wbe", None);
    assert!(status == 404 && body.contains("did you mean `web`"), "{body}");
    let (status, body) = bed.ask("GET", "/v1/domains/web/vcpus/9/trace", None);
    assert!(status == 404 && body.contains("has no vCPU 9"), "{body}");
}

#[test]
fn a_guest_that_powers_off_is_destroyed() {
    let bed = Bed::new();
    let before = bed.core.counters();
    let id = bed.create_id("web");
    bed.core.guest_stop(id, reason::POWEROFF, 0);
    bed.until("it is gone", || bed.core.counters() == before && bed.records() == 0);
    let events = bed.get("/v1/events").to_string();
    assert!(events.contains("it turned itself off"), "{events}");
}

#[test]
fn a_guest_that_reboots_is_built_again() {
    let bed = Bed::new();
    let id = bed.create_id("web");
    let counters = bed.core.counters();
    bed.guest(id).write(b"first life\n");
    bed.until("its text is kept", || bed.console("web").contains("first life"));
    bed.core.guest_stop(id, reason::REBOOT, 0);
    bed.until("it lives again", || {
        let list = bed.get("/v1/domains").to_string();
        list.contains("\"restarts\":1") && list.contains("\"state\":\"blocked\"")
    });
    assert_eq!(bed.core.counters(), counters);
    // The console outlives it.
    let id = bed.domain("web")["id"].as_u64().unwrap() as u16;
    bed.guest(id).write(b"second life\n");
    bed.until("both are kept", || {
        let text = bed.console("web");
        text.contains("first life") && text.contains("second life")
    });
}

#[test]
fn a_guest_that_reboots_all_the_time_is_stopped() {
    let bed = Bed::new();
    bed.create("web").unwrap();
    for round in 0.. {
        assert!(round < 20, "it is restarted for ever");
        let domain = bed.domain("web");
        let id = domain["id"].as_u64().unwrap() as u16;
        bed.core.guest_stop(id, reason::REBOOT, 0);
        let lives = &domain["restarts"];
        bed.until("it was acted upon", || {
            bed.get("/v1/events").to_string().contains("no restart")
                || bed.get("/v1/domains").to_string().contains("\"state\":\"blocked\"")
                    && bed.domain("web")["restarts"] != *lives
        });
        if bed.get("/v1/events").to_string().contains("no restart") {
            break;
        }
    }
    bed.until("it is kept", || bed.domain("web")["state"] == "stopped");
}

#[test]
fn a_crashed_guest_is_kept_if_wanted() {
    let bed = Bed::new();
    let mut keep = spec(&bed, "web");
    keep["on_crash"] = json!("preserve");
    bed.create_spec(keep).unwrap();
    bed.core.guest_stop(1, reason::TRIPLE_FAULT, 0x99);
    bed.until("it is kept", || bed.get("/v1/events").to_string().contains("preserved"));
    let domain = bed.domain("web");
    assert_eq!((&domain["state"], &domain["reason"]), (&json!("crashed"), &json!("triple-fault")));
    assert!(domain["reason_text"].as_str().unwrap().contains("code 0x99"));
    let (status, body) = bed.post("/v1/domains/web/shutdown");
    assert!(status == 409 && body.contains("has stopped already"), "{body}");
    assert_eq!(bed.get("/v1/doctor")["ok"], false);
    assert_eq!(bed.delete("web").0, 200);
}

#[test]
fn shutdown_is_asked_for_and_obeyed() {
    let bed = Bed::new();
    bed.create("web").unwrap();
    bed.core.guests_obey(true);
    assert_eq!(bed.post("/v1/domains/web/shutdown").0, 200);
    bed.until("it is gone", || bed.ask("GET", "/v1/domains/web", None).0 == 404);
    bed.create("web").unwrap();
    let reboot = Some(json!({"reboot": true}));
    assert_eq!(bed.ask("POST", "/v1/domains/web/shutdown", reboot).0, 200);
    bed.until("it lives again", || bed.get("/v1/domains").to_string().contains("\"restarts\":1"));
}

#[test]
fn consoles_carry_both_ways_to_several_readers() {
    let bed = Bed::new();
    let id = bed.create_id("web");
    let mut guest = bed.guest(id);
    guest.write(b"early text\r\n");
    bed.until("it is kept", || bed.console("web").contains("early text"));
    let mut first = bed.attach("web");
    let mut second = bed.attach("web");
    guest.write(b"login: ");
    for reader in [&mut first, &mut second] {
        assert_eq!(reader.expect(b"early text\r\nlogin: "), b"early text\r\nlogin: ");
    }
    first.send(b"root\n");
    second.send(b"id\n");
    let mut typed = Vec::new();
    bed.until("the guest has it", || {
        typed.extend(guest.read());
        typed.len() == 8
    });
    assert_eq!(typed.iter().filter(|b| **b == b'\n').count(), 2);
    // More than fits anywhere, at the guest's pace.
    let paste = vec![b'p'; 40_000];
    let sender = std::thread::spawn(move || {
        first.send(&paste);
        first
    });
    let mut got = 0;
    bed.until("all of it arrived", || {
        got += guest.read().len();
        got == 40_000
    });
    drop(sender.join().unwrap());
    // The end of the domain is the end of the stream.
    drop(guest);
    bed.delete("web");
    second.expect_end();
}

#[test]
fn a_guest_that_breaks_its_ring_harms_itself_only() {
    use hv_ring::RingMemory;
    let bed = Bed::new();
    let id = bed.create_id("web");
    let mut guest = bed.guest(id);
    guest.page().store_index(hv_abi::console::offset::OUT_PRODUCED, 0x8000_0000);
    guest.write(b"");
    bed.until("it is named", || {
        bed.get("/v1/events").to_string().contains("the peer broke the ring")
    });
    assert_eq!(bed.create_id("other"), 2);
    assert_eq!(bed.delete("web").0, 200);
}

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

#[test]
fn a_client_that_leaves_during_a_create_leaves_nothing() {
    let bed = Bed::new();
    let before = bed.core.counters();
    // Large enough that the build takes a while.
    let big = bed.file("big", 300 * MIB);
    let mut large = spec(&bed, "web");
    large["initrd"] = json!(big);
    large["memory"] = json!(400 * MIB);
    let stream = bed.send("POST", "/v1/domains", Some(json!({ "spec": large })));
    bed.until("it is being built", || bed.core.counters() != before);
    drop(stream);
    bed.until("it is undone", || bed.core.counters() == before);
    bed.until("the name is free", || bed.create("web").is_ok());
}

#[test]
fn a_domain_that_is_being_built_cannot_be_made_twice() {
    let bed = Bed::new();
    let before = bed.core.counters();
    let mut large = spec(&bed, "web");
    large["initrd"] = json!(bed.file("big", 200 * MIB));
    large["memory"] = json!(300 * MIB);
    let _stream = bed.send("POST", "/v1/domains", Some(json!({ "spec": large })));
    bed.until("it is being built", || bed.core.counters() != before);
    let refused = bed.create("web").unwrap_err();
    assert_eq!(refused["error"]["code"], "busy");
}

#[test]
fn paused_from_the_start() {
    let bed = Bed::new();
    let request = json!({ "spec": spec(&bed, "web"), "paused": true });
    assert_eq!(bed.ask("POST", "/v1/domains", Some(request)).0, 200);
    assert_eq!(bed.domain("web")["state"], "paused");
    assert_eq!(bed.post("/v1/domains/web/unpause").0, 200);
    assert_eq!(bed.domain("web")["state"], "blocked");
}

#[test]
fn logs_and_events_wait_for_news() {
    let bed = Bed::new();
    let log = bed.get("/v1/host/log");
    let next = log["next"].as_u64().unwrap();
    assert!(log["text"].as_str().unwrap().contains("a fake core"));
    let core = bed.core.clone();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        core.log("news\n");
    });
    let more = bed.get(&format!("/v1/host/log?cursor={next}&wait_ms=10000"));
    assert_eq!(more["text"], "news\n");
    later.join().unwrap();
    let none = bed.get("/v1/events?after=0&wait_ms=50");
    assert_eq!(none["events"], json!([]));
    bed.create("web").unwrap();
    assert_eq!(bed.get("/v1/events")["events"][0]["kind"], "created");
}

/// A stranger's domain keeps its name, is shown, and can be destroyed.
#[test]
fn domains_of_others_are_shown_and_left_alone() {
    let bed = Bed::new();
    let before = bed.core.counters();
    let built = hv_toolstack::builder::build(
        &bed.core,
        &serde_json::from_value(spec(&bed, "theirs")).unwrap(),
        [3; 16],
        &|| true,
    );
    let id = built.unwrap().release();
    bed.core.domain_unpause(id).unwrap();
    assert_eq!(bed.domain("theirs")["managed"], false);
    assert_eq!(bed.create("theirs").unwrap_err()["error"]["code"], "exists");
    assert_eq!(bed.ask("GET", "/v1/domains/theirs/console", None).0, 409);
    let page = bed.core.map(id, layout::CONSOLE, 4096).unwrap();
    drop(page);
    assert_eq!(bed.delete("theirs").0, 200);
    assert_eq!(bed.core.counters(), before);
}
