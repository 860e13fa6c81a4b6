// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon over the fake core, asked through its socket.

mod bed;

use bed::{Bed, MIB, spec};
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
    assert!(bed.post("/v1/domains/web/pause").1.contains("just being built"));
    // A destruction waits until there is something to destroy.
    assert_eq!(bed.delete("web").0, 200);
    assert_eq!(bed.core.counters(), before);
    assert_eq!(bed.records(), 0);
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
