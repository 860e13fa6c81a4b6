// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures: what happened, why, and what to do; and the exit codes.

use crate::style::Paint;
use hv_toolstack::api::{self, Doc, Problem};
use hv_toolstack::file::{Diagnostic, Faulty};
use std::process::ExitCode;

/// Exit codes, as the help has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Invalid = 3,
    NotFound = 4,
    NotNow = 5,
    NoDaemon = 6,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command was not done.
#[derive(Debug)]
pub struct Failure {
    problem: Box<Problem>,
    /// Messages that point into a file, instead of the problem's.
    diagnostics: Vec<Diagnostic>,
}

/// What a command ends with.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A code of the API (`api::Problem`) and a sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Problem { code: code.into(), message: message.into(), hint: None, step: None, field: None }
            .into()
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    /// Shows the message at a place in a file.
    pub fn at(mut self, place: impl FnOnce(&str, &str) -> Diagnostic) -> Self {
        if let Some(field) = &self.problem.field {
            let diagnostic = place(field, &self.problem.message);
            self.diagnostics = vec![Diagnostic { help: self.problem.hint.clone(), ..diagnostic }];
        }
        self
    }

    /// The code of the API.
    pub fn code(&self) -> &str {
        &self.problem.code
    }

    pub fn exit(&self) -> Exit {
        match self.code() {
            "invalid" => Exit::Invalid,
            "not-found" => Exit::NotFound,
            "exists" | "busy" | "refused" => Exit::NotNow,
            "no-daemon" | "no-core" => Exit::NoDaemon,
            "cancelled" => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    /// Tells it on standard error or, as a document, on standard output.
    pub fn show(&self, json: bool) {
        if json {
            let error = (*self.problem).clone();
            let document = Doc::of(api::Failure { error });
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            return crate::style::put(&format!("{text}\n"));
        }
        eprintln!("{}", self.text(Paint::of_stderr()));
    }

    fn text(&self, paint: Paint) -> String {
        let error = paint.red("error:");
        let mut text = match self.diagnostics.is_empty() {
            true => format!("{error} {}", self.problem.message),
            false => {
                let shown: Vec<String> = self.diagnostics.iter().map(|d| d.to_string()).collect();
                shown.join("\n\n").replace("error:", &error)
            }
        };
        if let Some(step) = &self.problem.step {
            text += &format!("\n   = while {step}");
        }
        if let (Some(hint), true) = (&self.problem.hint, self.diagnostics.is_empty()) {
            text += &format!("\n   = help: {hint}");
        }
        text
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), diagnostics: Vec::new() }
    }
}

impl From<Faulty> for Failure {
    fn from(faulty: Faulty) -> Self {
        let messages: Vec<String> = faulty.0.iter().map(one_line).collect();
        let mut failure = Failure::new("invalid", messages.join("; "));
        failure.diagnostics = faulty.0;
        failure
    }
}

/// A diagnostic for programs.
fn one_line(d: &Diagnostic) -> String {
    let label = d.label.as_ref().map_or(String::new(), |l| format!(": {l}"));
    match d.position() {
        Some((line, column)) => format!("line {line}, column {column}: {}{label}", d.message),
        None => format!("{}{label}", d.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_toolstack::file;

    #[test]
    fn messages() {
        let plain = Paint::plain();
        let daemon: Failure = Problem {
            code: "failed".into(),
            message: "memory_populate for domain 3 was refused: too little memory".into(),
            hint: Some("destroy another domain".into()),
            step: Some("giving it memory".into()),
            field: None,
        }
        .into();
        let text = "name = 'web'\nkernel = '/boot/k'\nmemory = '64M'\n";
        let parsed = file::parse("web.toml", text, &[]).unwrap();
        let located = Failure::from(Problem {
            code: "invalid".into(),
            message: "cannot read the kernel /boot/k: No such file".into(),
            hint: Some("check the path that `kernel` names".into()),
            step: Some("checking kernel and initrd".into()),
            field: Some("kernel".into()),
        })
        .at(|field, message| parsed.diagnostic(field, message));
        let faulty = file::parse("web.toml", "nmae = 'web'\nmemory = 5\n", &[]).unwrap_err();
        let all = [
            daemon.text(plain),
            located.text(plain),
            Failure::from(faulty.clone()).text(plain),
            Failure::from(faulty).problem.message.clone(),
        ];
        insta::assert_snapshot!(all.join("\n\n"));
    }
}
