// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain is destroyed while others hold ports joined with its own, or
//! wait for it: theirs turn unbound, sends to them are harmless.

use hv_abi::event::kind;
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, check_eq, ok};

use crate::child::config;
use crate::host;

/// The runner's part.
pub fn run() -> Outcome {
    let domain = ok!(host::create(&config("peer")));
    let waiting = ok!(call(H::EventAlloc { owner: DOM_SELF, remote: domain }));
    let mut joined = [0; 40];
    for port in &mut joined {
        let theirs = ok!(call(H::EventAlloc { owner: domain, remote: DOM_SELF }));
        *port = ok!(call(H::EventBind { remote: domain, remote_port: theirs }));
        ok!(call(H::EventSend { port: *port }));
    }
    check_eq!(ok!(host::domain(domain)).ports, joined.len() as u32);
    ok!(host::destroy(domain));
    for port in joined {
        check_eq!(ok!(host::event(DOM_SELF, port)).kind, kind::UNBOUND);
        check_eq!(call(H::EventSend { port }), Ok(0));
        ok!(call(H::EventClose { port }));
        check_eq!(call(H::EventClose { port }), Err(Status::NotFound));
    }
    check_eq!(call(H::EventSend { port: waiting }), Ok(0));
    ok!(call(H::EventClose { port: waiting }));
    Ok(())
}
