// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why there is no domain, and what was being done.

use hv_abi::Status;
use hv_client::Error;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking at kernel and initrd.
    Files,
    /// Looking at the host.
    Host,
    /// Making the domain.
    Create,
    /// Giving it memory.
    Memory,
    /// Copying the kernel.
    Kernel,
    /// Copying the initrd.
    Initrd,
    /// Making the ports of console and devices.
    Console,
    /// Writing what the kernel reads first.
    Boot,
    /// Setting vCPUs up.
    Vcpus,
    /// The caller's part: joining the console, keeping the record, starting.
    Start,
}

impl Step {
    /// For messages: "while …".
    pub fn text(self) -> &'static str {
        match self {
            Step::Files => "checking kernel and initrd",
            Step::Host => "asking the core for its memory",
            Step::Create => "making the domain",
            Step::Memory => "giving it memory",
            Step::Kernel => "loading the kernel",
            Step::Initrd => "loading the initrd",
            Step::Console => "making its console",
            Step::Boot => "writing its boot data",
            Step::Vcpus => "setting up its vCPUs",
            Step::Start => "starting it",
        }
    }
}

/// Why there is no domain.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct BuildError {
    /// What was being done.
    pub step: Step,
    /// The domain file's key that is at fault, if one is.
    pub field: Option<String>,
    /// What happened.
    pub why: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whether it was the caller who wanted an end.
    pub cancelled: bool,
}

impl BuildError {
    pub(super) fn new(step: Step, field: Option<&str>, why: impl ToString) -> Self {
        Self {
            step,
            field: field.map(Into::into),
            why: why.to_string(),
            hint: None,
            cancelled: false,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure at one of the core's doors.
    pub fn core(step: Step, e: Error) -> Self {
        let hint = match e.status() {
            Some(Status::Limit) => Some("the core's limit of domains or ports is reached"),
            Some(Status::Denied) => Some("only the control domain may build domains"),
            _ => None,
        };
        Self { hint: hint.map(Into::into), ..Self::new(step, None, e) }
    }

    pub(super) fn cancelled(step: Step) -> Self {
        Self { cancelled: true, ..Self::new(step, None, "cancelled") }
    }
}
