// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain's figures mean in words, and how to be rid of one.

use hv_abi::domain::{DomainInfo, reason, state};
use hv_abi::{DomainId, Status};
use hv_client::{Calls, Core, Error};
use std::time::{Duration, Instant};

/// How long a destruction may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Destroys a domain, step by step until it is gone. One that is gone already
/// is fine: that is what was wanted.
pub fn destroy(core: &dyn Core, id: DomainId) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        match core.domain_destroy_step(id) {
            Ok(true) => return Ok(()),
            Ok(false) if start.elapsed() < PATIENCE => {}
            Ok(false) => {
                return Err(Error::NoProgress { call: "domain_destroy", domain: id });
            }
            Err(e) if e.status() == Some(Status::NotFound) => return Ok(()),
            // Another CPU is just leaving the domain.
            Err(e) if e.status() == Some(Status::Busy) && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return Err(e),
        }
    }
}

/// The text up to the first zero; what is no UTF-8 is replaced.
pub fn text(padded: &[u8]) -> String {
    let len = padded.iter().position(|b| *b == 0).unwrap_or(padded.len());
    String::from_utf8_lossy(&padded[..len]).into_owned()
}

/// A domain's name.
pub fn name(info: &DomainInfo) -> String {
    match (info.domain, text(&info.name)) {
        (0, name) if name.is_empty() => "control".into(),
        (_, name) => name,
    }
}

/// One word for the state.
pub fn state_word(info: &DomainInfo) -> &'static str {
    let has = |bit| info.state & bit != 0;
    if has(state::DYING) {
        "dying"
    } else if has(state::SHUTDOWN) {
        match info.reason {
            reason::POWEROFF | reason::REBOOT => "stopped",
            reason::SUSPEND => "suspended",
            _ => "crashed",
        }
    } else if has(state::NEW) {
        "building"
    } else if has(state::PAUSED) {
        "paused"
    } else if has(state::BLOCKED) {
        "blocked"
    } else {
        "running"
    }
}

/// Each reason with its word and its sentence.
const REASONS: [(&str, &str); 8] = [
    ("poweroff", "it turned itself off"),
    ("reboot", "it asks to be started again"),
    ("suspend", "it asks to be saved"),
    ("crash", "its kernel says that it crashed"),
    ("watchdog", "its watchdog ran out"),
    ("triple-fault", "a vCPU had a triple fault"),
    ("memory-fault", "a vCPU touched memory the domain has not got"),
    ("bad-state", "the CPU refused a vCPU's state, or left it for an unknown reason"),
];

/// One word for why a domain stopped, if it did.
pub fn reason_word(info: &DomainInfo) -> Option<&'static str> {
    (info.state & state::SHUTDOWN != 0).then(|| {
        let known = REASONS.get(info.reason as usize);
        known.map_or("unknown", |(word, _)| word)
    })
}

/// Why a domain stopped, with what is known about it.
pub fn reason_text(info: &DomainInfo) -> String {
    let text = REASONS
        .get(info.reason as usize)
        .map_or("for a reason these tools do not know", |(_, text)| text);
    match info.reason {
        reason::MEMORY_FAULT => format!(
            "{text}: address {:#x}, vCPU {} at rip {:#x}",
            info.code, info.fault_vcpu, info.fault_rip
        ),
        reason::TRIPLE_FAULT | reason::BAD_STATE => format!(
            "{text}: vCPU {} at rip {:#x}, code {:#x}",
            info.fault_vcpu, info.fault_rip, info.code
        ),
        _ if info.code != 0 => format!("{text} (code {:#x})", info.code),
        _ => text.into(),
    }
}
