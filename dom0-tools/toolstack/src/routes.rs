// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paths of the daemon's API, one row each. The OpenAPI document is made
//! from these rows, and the daemon's tests ask every one of them.

use crate::api::SCHEMA;
use serde_json::{Map, Value, json};

/// A path of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Method in capitals.
    pub method: &'static str,
    /// Path; `{domain}` is a name or a number.
    pub path: &'static str,
    /// Parameters of the query.
    pub query: &'static [&'static str],
    /// Name of the request's body in `api`, or nothing.
    pub body: &'static str,
    /// Name of the answer's body in `api`.
    pub answer: &'static str,
    /// What it does.
    pub doc: &'static str,
}

macro_rules! routes {
    ($($method:ident $path:literal [$($query:literal)*] $body:literal $answer:literal $doc:literal;)*) => {
        /// Every path.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            query: &[$($query),*],
            body: $body,
            answer: $answer,
            doc: $doc,
        }),*];
    };
}

routes! {
    GET "/v1/host" [] "" "Host" "Figures and counters of the host.";
    GET "/v1/host/log" ["cursor" "wait_ms"] "" "Log" "The core's log from a position on; waits for new text.";
    POST "/v1/host/audit" [] "" "Audit" "Checks every frame's state, owner and references.";
    POST "/v1/host/debug-keys" [] "DebugKeyRequest" "DebugKey" "Has the core write a part of its state into its log: domains, queues, ports, grants or memory.";
    GET "/v1/doctor" [] "" "Doctor" "Looks for what is wrong: leaks, leftovers, missing parts.";
    GET "/v1/events" ["after" "wait_ms"] "" "Events" "What happened after an event; waits for the next.";
    GET "/v1/domains" [] "" "Domains" "All domains.";
    POST "/v1/domains" [] "CreateRequest" "OneDomain" "Builds a domain and starts it. Ending the request early undoes it.";
    GET "/v1/domains/{domain}" [] "" "OneDomain" "A domain with what it was made from.";
    DELETE "/v1/domains/{domain}" [] "" "Done" "Destroys a domain at once.";
    POST "/v1/domains/{domain}/shutdown" [] "ShutdownRequest" "Done" "Asks a domain to shut down or reboot.";
    POST "/v1/domains/{domain}/pause" [] "" "Done" "Holds a domain's vCPUs.";
    POST "/v1/domains/{domain}/unpause" [] "" "Done" "Lets them run again.";
    PUT "/v1/domains/{domain}/sched" [] "SchedRequest" "OneDomain" "Changes weight and cap.";
    GET "/v1/domains/{domain}/vcpus" [] "" "Vcpus" "A domain's vCPUs.";
    GET "/v1/vcpus" [] "" "Vcpus" "All domains' vCPUs.";
    PUT "/v1/domains/{domain}/vcpus/{vcpu}/affinity" [] "AffinityRequest" "Done" "Restricts a vCPU to CPUs.";
    GET "/v1/domains/{domain}/vcpus/{vcpu}/trace" [] "" "Trace" "The latest exits of a vCPU.";
    GET "/v1/domains/{domain}/console" [] "" "" "With `Upgrade: hv-console`: the console in both directions, beginning with its latest output. Without: that output as text.";
    GET "/v1/domains/{domain}/disks" [] "" "Disks" "A domain's disks, with their counters.";
    POST "/v1/domains/{domain}/disks" [] "DiskSpec" "OneDisk" "Gives a running domain one more disk.";
    PUT "/v1/domains/{domain}/disks/{disk}" [] "DiskChange" "OneDisk" "Changes a disk's size or limits.";
    DELETE "/v1/domains/{domain}/disks/{disk}" ["force"] "" "Done" "Asks the guest to let go of a disk and takes it away; with `force=true` whatever the guest does.";
    GET "/v1/domains/{domain}/networks" [] "" "Networks" "A domain's network cards, with their counters.";
    POST "/v1/domains/{domain}/networks" [] "NetworkSpec" "OneNetwork" "Gives a running domain one more network card.";
    PUT "/v1/domains/{domain}/networks/{network}" [] "NetworkChange" "OneNetwork" "Changes a card's link or limits.";
    DELETE "/v1/domains/{domain}/networks/{network}" ["force"] "" "Done" "Asks the guest to let go of a card and takes it away; with `force=true` whatever the guest does.";
    GET "/v1/openapi.json" [] "" "" "This document.";
}

/// The OpenAPI 3.0 document of [`ROUTES`].
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let mut parameters: Vec<Value> = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| parameter(name, "path", true))
            .collect();
        parameters.extend(route.query.iter().map(|name| parameter(name, "query", false)));
        let mut operation = json!({
            "summary": route.doc,
            "parameters": parameters,
            "responses": {
                "200": { "description": describe(route.answer) },
                "default": { "description": describe("Failure") },
            },
        });
        if !route.body.is_empty() {
            operation["requestBody"] = json!({
                "description": format!("`api::{}`", route.body),
                "content": { "application/json": {} },
            });
        }
        let entry = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        entry[route.method.to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "hvd",
            "description": "Domains of this host, over a Unix socket.",
            "version": SCHEMA,
        },
        "paths": paths,
    })
}

fn parameter(name: &str, place: &str, required: bool) -> Value {
    json!({ "name": name, "in": place, "required": required, "schema": { "type": "string" } })
}

fn describe(body: &str) -> String {
    match body {
        "" => "See the summary.".into(),
        _ => format!("`api::{body}` next to `\"schema\": \"{SCHEMA}\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route() {
        let document = openapi();
        for route in ROUTES {
            let method = route.method.to_lowercase();
            let operation = &document["paths"][route.path][&method];
            assert_eq!(operation["summary"], route.doc, "{method} {}", route.path);
        }
    }
}
