// SPDX-License-Identifier: MIT OR Apache-2.0
//! The API on the socket: paths as `hv_toolstack::routes` lists them.

mod console;
mod devices;
mod domains;
mod host;

use crate::daemon::Daemon;
use crate::problem::{Answer, Problem};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hv_toolstack::api::{Doc, Done, Failure};
use hv_toolstack::routes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What handlers share.
type Shared = axum::extract::State<Arc<Daemon>>;

/// All paths.
pub fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/v1/host", get(host::info))
        .route("/v1/host/log", get(host::log))
        .route("/v1/host/audit", post(host::audit))
        .route("/v1/host/debug-keys", post(host::debug_keys))
        .route("/v1/doctor", get(host::doctor))
        .route("/v1/events", get(host::events))
        .route("/v1/vcpus", get(domains::all_vcpus))
        .route("/v1/domains", get(domains::list).post(domains::create))
        .route("/v1/domains/{domain}", get(domains::one).delete(domains::destroy))
        .route("/v1/domains/{domain}/shutdown", post(domains::shutdown))
        .route("/v1/domains/{domain}/pause", post(domains::pause))
        .route("/v1/domains/{domain}/unpause", post(domains::unpause))
        .route("/v1/domains/{domain}/sched", put(domains::sched))
        .route("/v1/domains/{domain}/vcpus", get(domains::vcpus))
        .route("/v1/domains/{domain}/vcpus/{vcpu}/affinity", put(domains::affinity))
        .route("/v1/domains/{domain}/vcpus/{vcpu}/trace", get(domains::trace))
        .route("/v1/domains/{domain}/console", get(console::attach))
        .route("/v1/domains/{domain}/disks", get(devices::list).post(devices::attach))
        .route("/v1/domains/{domain}/disks/{disk}", put(devices::change).delete(devices::detach))
        .route(
            "/v1/domains/{domain}/networks",
            get(devices::networks).post(devices::network_attach),
        )
        .route(
            "/v1/domains/{domain}/networks/{network}",
            put(devices::network_change).delete(devices::network_detach),
        )
        .route("/v1/openapi.json", get(openapi))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(daemon)
}

async fn openapi() -> Response {
    json(StatusCode::OK, &routes::openapi())
}

async fn unknown() -> Problem {
    Problem::new("not-found", "the API has no such path or method")
        .hint("GET /v1/openapi.json lists them")
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Documents are structs of plain values: they always serialise.
    let text = serde_json::to_vec(body).unwrap_or_default();
    let kind = [("content-type", "application/json")];
    (status, kind, text).into_response()
}

/// A document as an answer.
fn document<T: Serialize>(body: T) -> Response {
    json(StatusCode::OK, &Doc::of(body))
}

/// The answer when there is nothing to say.
fn done() -> Response {
    document(Done { ok: true })
}

/// A request's body; an empty one is an empty object.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Answer<T> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes)
        .map_err(|e| Problem::new("invalid", format!("the request's body: {e}")))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status());
        json(
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            &Doc::of(Failure { error: *self.0 }),
        )
    }
}
