// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guests do, and what the daemon makes of it, over the fake core.

mod bed;

use bed::{Bed, spec};
use hv_abi::domain::reason;
use serde_json::json;

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
