// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many domains at once, each with its number; all go again.

use hv_abi::Status;
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child::config;
use crate::host;

const COUNT: usize = 40;

/// The runner's part.
pub fn run() -> Outcome {
    let mut ids = [0; COUNT];
    for (i, slot) in ids.iter_mut().enumerate() {
        let mut config = config("one of many");
        config.max_pages = 1;
        config.vcpus = 1 + i as u32 % 3;
        match host::create(&config) {
            Ok(id) => *slot = id,
            Err(Status::NoMemory) => break,
            Err(status) => ok!(Err(status)),
        }
    }
    let count = ids.iter().filter(|id| **id != 0).count();
    check!(count >= 16, "only {count} domains");
    for (i, id) in ids.iter().enumerate().take(count) {
        check!(!ids[..i].contains(id), "number {id} twice");
        check_eq!(ok!(host::domain(*id)).vcpus, 1 + i as u32 % 3);
    }
    for id in ids.iter().take(count).rev() {
        ok!(host::destroy(*id));
    }
    Ok(())
}
