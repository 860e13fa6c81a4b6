// SPDX-License-Identifier: MIT OR Apache-2.0
//! The documents of the daemon's API, which are also what `hvctl --json`
//! prints. Each is an object with `"schema": "hv/1"`.
//!
//! Promise of `hv/1`: members are added, never removed, renamed or given
//! another meaning; words such as states may get new siblings. Times are
//! nanoseconds (`_ns`) or seconds since 1970 (`_unix`), sizes bytes.

mod device;
mod domain;
mod host;

pub use device::*;
pub use domain::*;
pub use host::*;

use serde::{Deserialize, Serialize};

/// Value of every document's `schema`.
pub const SCHEMA: &str = "hv/1";

/// A document: its body's members next to `schema`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Doc<T> {
    /// [`SCHEMA`].
    pub schema: String,
    /// The rest.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Doc<T> {
    /// Wraps a body.
    pub fn of(body: T) -> Self {
        let schema = SCHEMA.into();
        Self { schema, body }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// `invalid`, `not-found`, `exists`, `busy`, `refused`, `cancelled`,
    /// `no-core` or `failed`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// What was being done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<String>,
    /// The domain file's key at fault.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
}

/// The document of a failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// It.
    pub error: Problem,
}

/// Nothing more to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}
