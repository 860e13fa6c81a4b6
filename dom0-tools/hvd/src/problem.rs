// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures as the API tells them: a code for programs, a sentence, a hint.

use hv_abi::Status;
use hv_client::Error;
use hv_toolstack::api;
use hv_toolstack::builder::{BuildError, Step};

/// A failure of the API.
#[derive(Debug)]
pub struct Problem(pub Box<api::Problem>);

/// What a request or a piece of work ends with.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A code and a sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self(Box::new(api::Problem {
            code: code.into(),
            message: message.into(),
            hint: None,
            step: None,
            field: None,
        }))
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// About a key of the domain file.
    pub fn field(mut self, key: &str) -> Self {
        self.0.field = Some(key.into());
        self
    }

    /// The HTTP status that goes with the code.
    pub fn status(&self) -> u16 {
        match &*self.0.code {
            "invalid" => 400,
            "not-found" => 404,
            "exists" | "busy" | "refused" | "cancelled" => 409,
            "no-core" => 503,
            _ => 500,
        }
    }
}

impl From<Error> for Problem {
    fn from(e: Error) -> Self {
        let code = match e.status() {
            Some(Status::NotFound) => "not-found",
            Some(Status::Busy) => "busy",
            Some(Status::Invalid | Status::Limit) => "invalid",
            Some(Status::Denied | Status::Dying | Status::State) => "refused",
            _ if e.is_no_core() => "no-core",
            _ => "failed",
        };
        Self::new(code, e.to_string())
    }
}

impl From<BuildError> for Problem {
    fn from(e: BuildError) -> Self {
        let code = match e.step {
            _ if e.cancelled => "cancelled",
            _ if e.field.is_some() => "invalid",
            Step::Create => "refused",
            _ => "failed",
        };
        let mut problem = Self::new(code, e.why);
        problem.0.hint = e.hint;
        problem.0.step = Some(e.step.text().into());
        problem.0.field = e.field;
        problem
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.step {
            Some(step) => write!(f, " (while {step})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
