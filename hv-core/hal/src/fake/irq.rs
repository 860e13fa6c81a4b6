// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical interrupts of the scripted machine.

use super::machine::with;

/// Hands over what waits.
pub fn drain(take: &mut dyn FnMut(u8, bool)) {
    while let Some((vector, level)) = with(|m| m.interrupts.pop_front()) {
        take(vector, level);
    }
}

/// Notes the acknowledgement.
pub fn end_level(vector: u8) {
    with(|m| m.ended.push(vector));
}
